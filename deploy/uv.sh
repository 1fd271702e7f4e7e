# Has uv use the indexes and certificates that pip is configured to use on this machine. For `.`; wants $TOOLS and $PYTHON.
# shellcheck shell=sh

SYSTEM_CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

# pip's own setting of that name, from its files or environment, wherever it was made.
# $pip_settings is what `pip config list` prints: a name, =, and the value as Python writes a string.
pip_setting() {
    printf '%s\n' "$pip_settings" | "$TOOLS/uv/bin/python" -c '
import ast, sys
told = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
found = [told[name] for section in (":env:", "install", "global") if (name := f"{section}.{sys.argv[1]}") in told]
print(ast.literal_eval(found[0]) if found else "")
' "$1"
}

# uv does not read pip's configuration; what the user said to uv itself goes first.
configure_uv() {
    pip_settings=$("$TOOLS/uv/bin/python" -m pip config list 2>/dev/null || true) # once: pip takes half a second to start
    UV_CACHE_DIR=${UV_CACHE_DIR:-$TOOLS/cache}
    UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$(pip_setting index-url)}
    UV_INDEX=${UV_INDEX:-$(pip_setting extra-index-url)}
    UV_FIND_LINKS=${UV_FIND_LINKS:-$(pip_setting find-links | xargs | tr ' ' ,)}
    UV_INSECURE_HOST=${UV_INSECURE_HOST:-$(pip_setting trusted-host)}
    SSL_CERT_FILE=${SSL_CERT_FILE:-$(pip_setting cert)}
    for name in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_INSECURE_HOST SSL_CERT_FILE; do
        eval "value=\$$name"
        # shellcheck disable=SC2163,SC2154 # the names in the list are meant, and eval sets the value
        if [ -n "$value" ]; then export "$name"; else unset "$name"; fi
    done
    # As pip does: look in all indexes. What is found elsewhere than meant has not the hash we want.
    export UV_CACHE_DIR UV_PYTHON_DOWNLOADS=never UV_INDEX_STRATEGY=unsafe-best-match
}

# Where there is a certificate store of the machine, it is the one its owner maintains.
configure_certificates() {
    if [ -e "$SYSTEM_CERTIFICATES" ]; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
        if [ -z "${PIP_CERT:-}${SSL_CERT_FILE:-}" ] && [ -z "$("$PYTHON" -m pip config get global.cert 2>/dev/null)" ]; then
            export PIP_CERT="$SYSTEM_CERTIFICATES"
        fi
    fi
}
