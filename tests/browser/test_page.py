"""The sandbox's page in a browser, with mouse and keyboard."""

import queue
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Keys

from tests.browser.conftest import Sandbox
from tests.browser.screenshot import take
from tests.support.browser import Browser

ROWS = "#rows li"
TOP = f"{ROWS} .to"
LARGEST_PICTURE = 200_000
LITERAL = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">\n"
    "&lt;b&gt; ${7*7} {{7*7}} \\u003cb\\u003e\n"
    "שלום עולם, مرحبا بالعالم, \u202eright-to-left override\u202c\n"
    "👩🏽‍💻 🏳️‍🌈 e\u0301 \U0001f1e8\U0001f1ed\n"
    "  two  spaces"
)
DISPLAYED = (LITERAL, "0123456789" * 400)


def rows_are(page: Browser, *numbers: str) -> None:
    page.wait(
        "return JSON.stringify([...document.querySelectorAll(arguments[0])].map(e => e.textContent))"
        " === JSON.stringify(arguments[1])",
        TOP,
        list(numbers),
    )


def test_messages_appear_as_they_arrive_and_are_filtered(page: Browser, sandbox: Sandbox) -> None:
    page.wait("return !document.querySelector('#empty').hidden")
    assert sandbox.url in page.text("#base-url")
    page.wait("return document.querySelector('#live').textContent === 'Live'")
    sandbox.send("41790000001")
    sandbox.send("41790000002", "41790000003", bulkId="SPRING")
    sandbox.send("41790091014")
    rows_are(page, "41790091014", "41790000003", "41790000002", "41790000001")
    page.wait("return document.querySelectorAll('#rows .delivered').length === 3")
    page.wait("return document.querySelector('#announcement').textContent.includes('new message')")

    search = page.find("#search")
    for words, found in (
        ("+41 79 000 00 01", ["41790000001"]),
        ("spring", ["41790000003", "41790000002"]),
        ("#3", ["41790091014"]),
        ("", ["41790091014", "41790000003", "41790000002", "41790000001"]),
    ):
        search.clear()
        search.send_keys(words or " ")
        rows_are(page, *found)
    page.find("#state").send_keys("Refused")
    rows_are(page, "41790091014")
    search.send_keys("nothing of the kind")
    page.click("#clear-filter")
    rows_are(page, "41790091014", "41790000003", "41790000002", "41790000001")


def test_a_person_fails_delivers_and_reads_a_message_and_each_report_is_pushed(
    page: Browser, sandbox: Sandbox, receiver: "tuple[str, queue.Queue[Any]]"
) -> None:
    url, received = receiver
    sandbox.set(answers=0)
    sandbox.send("41790000001", viber={"text": "v"}, sms={"text": "s"}, notifyUrl=url, intermediateReport=True)
    page.click(f"{ROWS} button")
    for outcome, state in (
        ("failed", "Accepted, failed over"),
        ("delivered", "Delivered, failed over"),
        ("seen", "Seen, failed over"),
    ):
        page.click(f"[data-outcome={outcome}][aria-disabled=false]")
        page.wait("return document.querySelector('#message-state').textContent === arguments[0]", state)
        page.wait("return document.querySelector('#announcement').textContent === arguments[0]", f"Message {outcome}")
    page.wait("return document.querySelectorAll('#reports .good').length === 5")

    reports = [received.get(timeout=5) for _ in range(5)]
    assert sorted(each["status"]["groupName"] for each in reports if "status" in each) == [
        "DELIVERED",
        "EXPIRED",
        "PENDING",
        "PENDING",
    ]
    assert "seenAt" in reports[-1]
    assert page.texts("#timeline b") == ["Viber", "SMS", "Seen"]
    assert page.text(f"{ROWS} .chip") == "Seen, failed over"


def test_faults_and_automatic_delivery_are_switched_on_and_off(page: Browser, sandbox: Sandbox) -> None:
    body = {"destinations": [{"to": {"phoneNumber": "41790000001"}}], "sms": {"text": "s"}}
    page.click("#behaviour-button")
    page.click("#fault-status")
    page.wait("return document.querySelector('#announcement').textContent === 'Unavailable: on'")
    assert sandbox.client.post("/omni/1/advanced", json=body).status_code == 503
    page.wait("return document.querySelector('#stats').textContent === '1 call, 1 with a fault, the last: HTTP 503'")
    assert page.text("#fault-count") == "1 fault on"
    page.click("#fault-status")
    page.wait("return document.querySelector('#announcement').textContent === 'Unavailable: off'")
    page.click("#automatic")
    page.wait("return document.querySelector('#announcement').textContent === 'Automatic delivery: off'")
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()

    assert sandbox.client.post("/omni/1/advanced", json=body).status_code == 200
    assert page.run("return document.activeElement.id") == "behaviour-button"
    assert sandbox.client.get("/sandbox/options").json()["answers"] == 0


def test_texts_are_displayed_literally_on_every_phone(page: Browser, sandbox: Sandbox) -> None:
    for text in DISPLAYED:
        short = text[:1000]
        image = "javascript:alert(1)" if "<" in text else "https://images.example/p.png"
        sandbox.send(
            "41790000001",
            sms={"text": text},
            viber={"text": short, "imageURL": image, "buttonText": short[:30], "buttonURL": "javascript:alert(1)"},
            whatsApp={"text": short},
            email={"text": text, "subject": text},
            voice={"text": short},
            callbackData=text,
        )
        page.wait(
            "return document.querySelectorAll(arguments[0]).length === arguments[1]", ROWS, DISPLAYED.index(text) + 1
        )
        page.click(f"{ROWS} button")
        page.wait("return [...document.querySelectorAll('#ids dd')].at(-1)?.textContent === arguments[0]", text)
        for channel, expected in (
            ("SMS", text),
            ("Viber", short),
            ("WhatsApp", short),
            ("E-mail", text),
            ("Voice", short),
        ):
            page.run(
                "[...document.querySelectorAll('#channels button')].find(e => e.textContent === arguments[0])?.click()",
                channel,
            )
            page.wait(
                "return document.querySelector('#phone .screen')?.ariaLabel.startsWith(arguments[0])"
                " && [...document.querySelectorAll('#phone .text')].map(e => e.textContent).join('') === arguments[1]",
                channel,
                expected,
            )
        assert page.texts("#phone :is(script, img, iframe, b[onerror])") == []
        assert page.run("return [...document.querySelectorAll('a')].every(e => e.protocol === 'https:')")
    assert page.driver.title == "OMNI sandbox"
    page.click("#request summary")
    assert page.text("#request pre").count("0123456789") >= 400


def test_the_parts_of_an_sms_are_shown(page: Browser, sandbox: Sandbox) -> None:
    sandbox.send("41790000001", sms={"text": "a" * 152 + "€" + "b" * 10})
    page.wait("return document.querySelectorAll('#phone .part').length === 2")

    assert page.texts("#phone .part") == ["Part 1 of 2 · 152 of 153", "Part 2 of 2 · 12 of 153"]
    assert page.texts("#phone .text") == ["a" * 152, "€" + "b" * 10]
    assert page.text("#caption") == "GSM-7 · 2 parts"


def test_of_ten_thousand_messages_only_those_that_are_seen_are_rendered(page: Browser, sandbox: Sandbox) -> None:
    sandbox.send(*(f"4179{number:07}" for number in range(10_000)), sms={"text": "x" * 300})
    page.open(sandbox.url)
    seconds = page.wait("return performance.getEntriesByName('first-rows')[0]?.startTime") / 1000
    first = page.text(TOP)
    page.run("document.querySelector('#rows li button').focus()")
    most = 0
    for key, found in (
        (Keys.ARROW_DOWN, "41790009998"),
        (Keys.END, "41790000000"),
        (Keys.PAGE_UP, ""),
        (Keys.HOME, "41790009999"),
    ):
        ActionChains(page.driver).send_keys(key).perform()
        page.wait(
            "return document.activeElement.className === 'row'"
            " && document.activeElement.textContent.includes(arguments[0])",
            found,
        )
        most = max(most, len(page.texts(ROWS)))
    page.run("document.querySelector('#scroller').scrollTop = 5000 * 74")
    page.wait("return [...document.querySelectorAll(arguments[0])].some(e => e.textContent === '41790004999')", TOP)

    assert first == "41790009999"
    assert max(most, len(page.texts(ROWS))) < 40
    assert seconds < 3, "the first rows came late"
    print(f"first of 10,000 rows after {seconds:.3f} s")  # noqa: T201  # shown with -s


def test_what_is_being_read_stays_in_place_when_messages_arrive(page: Browser, sandbox: Sandbox) -> None:
    sandbox.send(*(f"4179{number:07}" for number in range(200)))
    place = (
        "return [...document.querySelectorAll('#rows li')].find(e => e.textContent.includes('41790000100'))"
        "?.getBoundingClientRect().top"
    )
    page.wait("return document.querySelector('#count').textContent === '200 messages'")
    page.run("document.querySelector('#scroller').scrollTop = 95 * 74")
    before = page.wait(place)
    sandbox.send("41799999991", "41799999992")
    page.wait("return document.querySelector('#count').textContent === '202 messages'")

    page.wait(f"{place} === arguments[0]", before)


def test_everything_fits_from_320_pixels_on_and_has_a_name(page: Browser, sandbox: Sandbox) -> None:
    sandbox.send("41790000001", sms={"text": "w" * 500}, viber={"text": "v"})
    sandbox.send("41790091014")
    page.look(320, 640, "dark")
    page.open(sandbox.url)
    page.click(f"{ROWS} button")
    page.wait("return document.activeElement.id === 'message-title'")
    page.click("#request summary")
    wide = (
        "return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.hidden')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert page.run(wide) == []
    page.click("#back")
    page.wait("return document.activeElement.className === 'row'")
    assert page.run(wide) == []
    page.click("#behaviour-button")
    assert page.run(wide) == []
    names = page.run(
        "return [...document.querySelectorAll('button, input, select, summary, [role=region]')]"
        ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert names == []
    page.click("#behaviour-close")
    for width in (420, 761, 900, 1121):
        page.look(width)
        assert page.run(wide) == [], f"too wide for {width} pixels"


def test_its_picture_is_small(window: Browser, sandbox: Sandbox, tmp_path: Path) -> None:
    take(window, sandbox.url, tmp_path / "sandbox.png")

    assert 10_000 < (tmp_path / "sandbox.png").stat().st_size < LARGEST_PICTURE
