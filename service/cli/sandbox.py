"""The help of `omni-relay sandbox`: what a test can request of it. A unit test compares its lists with the code.

Where the text has a backspace character, click does not wrap the paragraph that follows.
"""

SANDBOX_HELP = """Simulate the OMNI HTTP API, for development and tests. Details: deploy/sandbox.md.

\b
The last five digits of a phone number request a fault:
  90ccc    the first time for a message id; 91ccc: always
  000      no response until the caller disconnects
  001-100  HTTP 200 in which this destination has the status of that id
  104      the connection is reset
  200      HTTP 200 with an unreadable body
  400-599  that HTTP status
  92s00    step s of the scenario delivers (0: none); 92s01: and is read

\b
Control endpoints, without a credential, in JSON:
  GET DELETE       /sandbox/messages
  GET              /sandbox/calls
  GET              /sandbox/stats
  GET              /sandbox/pushes
  GET POST DELETE  /sandbox/faults
    kinds: latency status reset hang garbage empty html refuse
  GET POST         /sandbox/clock    {"speed": 60, "advance": 3600}
  GET POST         /sandbox/options
"""
