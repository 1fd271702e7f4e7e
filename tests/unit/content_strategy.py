"""What messages may say: contents of every channel, and the fields that stand beside them."""

from collections.abc import Mapping

from hypothesis import strategies as st

Drawn = st.SearchStrategy[dict[str, object]]


def fields(needed: Mapping[str, st.SearchStrategy[object]] | None = None, **more: st.SearchStrategy[object]) -> Drawn:
    """Draw an object with all the `needed` fields and any of the others."""
    return st.fixed_dictionaries(dict(needed or {}), optional=more)


def joined(*parts: Drawn) -> Drawn:
    """Draw an object that has the fields of them all."""

    @st.composite
    def whole(draw: st.DrawFn) -> dict[str, object]:  # also keeps short what hypothesis says of it
        return {name: value for part in parts for name, value in draw(part).items()}

    return whole()


small_texts = st.text(max_size=30).map(lambda text: f"x{text}")
urls = st.builds(
    "{}://{}.example{}".format,
    st.sampled_from(["http", "https"]),
    st.text("abc-0", min_size=1, max_size=9),
    st.sampled_from(["", "/", "/a/b.png?c=d&e=%20#f", ":8443/ü"]),
)
flags = st.booleans()


def _validity(hours: int, least: int = 30) -> Drawn:
    seconds = hours * 3600
    longest: dict[str, tuple[int, int]] = {
        "NANOSECONDS": (least * 10**9, seconds * 10**9),
        "MICROSECONDS": (least * 10**6, seconds * 10**6),
        "MILLISECONDS": (least * 10**3, seconds * 10**3),
        "SECONDS": (least, seconds),
        "MINUTES": (1, hours * 60),
        "HOURS": (1, hours),
        "DAYS": (1, hours // 24),
    }
    units = [
        fields({"validityPeriod": st.integers(*ends), "validityPeriodTimeUnit": st.just(unit)})
        for unit, ends in longest.items()
    ]
    minutes = st.integers(*longest["MINUTES"])
    return st.one_of(
        st.just({}),
        fields({"validityPeriodTimeUnit": st.just("HOURS")}),
        fields({"validityPeriod": minutes | minutes.map(str)}),
        *units,
    )


validity = _validity(48)
"""How long a step may try."""

texts: Mapping[str, st.SearchStrategy[object]] = {"text": small_texts}
sms = joined(
    fields(
        texts,
        language=fields({"languageCode": st.sampled_from(["NONE", "TR", "ES", "PT", "AUTODETECT"])}),
        transliteration=st.sampled_from(["NONE", "ALL", "TURKISH", "CYRILLIC", "NON_UNICODE"]),
        regional=fields(
            indiaDlt=fields(
                {"principalEntityId": small_texts}, contentTemplateId=small_texts, telemarketerId=small_texts
            ),
            korea=fields(title=small_texts),
        ),
    ),
    validity,
)
voice = joined(fields(texts, language=st.sampled_from(["en", "pt-BR", "zh_Hant"])), validity)
email = joined(fields(texts, subject=small_texts), validity)

_button: Mapping[str, st.SearchStrategy[object]] = {
    "buttonText": small_texts.map(lambda text: text[:30]),
    "buttonURL": urls | st.just("tel:+41793026727"),
}
viber = joined(
    st.one_of(
        fields(texts),
        fields({"imageURL": urls}),
        fields({"fileUrl": urls}, fileName=small_texts.map(lambda text: text[:25]), fileType=st.just("pdf")),
        fields({**texts, **_button}),
        fields({**texts, "imageURL": urls, **_button}),
    ),
    fields(trackingData=small_texts, isPromotional=flags, forcePrimaryDevice=flags),
    _validity(14 * 24, 35),
)

degrees = st.integers(-90_000_000, 90_000_000).map(lambda millionths: millionths / 1_000_000)
header = st.one_of(
    fields(textPlaceholder=small_texts),
    fields(documentUrl=urls, documentFilename=small_texts),
    fields(imageUrl=urls),
    fields(videoUrl=urls),
    fields(latitude=degrees, longitude=degrees),
)
contact = fields(
    {"name": fields({"firstName": small_texts, "formattedName": small_texts}, lastName=small_texts)},
    addresses=st.lists(fields(street=small_texts, zip=small_texts, type=st.sampled_from(["HOME", "WORK"])), max_size=2),
    birthday=st.just("1990-12-31"),
    emails=st.lists(fields(email=small_texts, type=st.just("WORK")), max_size=2),
    org=fields(company=small_texts, department=small_texts, title=small_texts),
    phones=st.lists(fields(phone=small_texts, type=st.sampled_from(["CELL", "IPHONE"]), waId=small_texts), max_size=2),
    urls=st.lists(fields(url=small_texts, type=st.just("HOME")), max_size=2),
)
whats_app = joined(
    st.one_of(
        fields(texts, imageUrl=urls, previewUrl=flags),
        fields({"templateName": small_texts}, templateData=st.lists(small_texts, max_size=3), language=st.just("en")),
        fields(
            {
                "templateName": small_texts,
                "mediaTemplateData": fields(
                    {"body": fields({"placeholders": st.lists(small_texts, max_size=2)})},
                    header=header,
                    buttons=st.lists(fields(urlPlaceholder=small_texts, quickReplyPayload=small_texts), max_size=2),
                ),
            },
            templateNamespace=small_texts,
        ),
        fields({"fileUrl": urls}, text=small_texts),
        fields({"audioUrl": urls}),
        fields({"videoUrl": urls}),
        fields({"latitude": degrees, "longitude": degrees}, locationName=small_texts, address=small_texts),
        fields({"contacts": st.lists(contact, min_size=1, max_size=2)}),
    ),
    validity,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | small_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(small_texts, inner, max_size=2),
    max_leaves=4,
)
free_objects = st.dictionaries(small_texts | st.sampled_from(["TENANT", "phoneNumber"]), json_values, max_size=3)
subscriptions = st.lists(small_texts, max_size=3, unique=True)
push = joined(
    fields(
        text=small_texts,
        customPayload=free_objects,
        notificationOptions=fields(
            vibrationEnabled=flags,
            soundName=small_texts,
            badge=st.integers(0, 2**31 - 1),
            contentUrl=urls,
            inAppStyle=st.sampled_from(["BANNER", "MODAL"]),
            title=small_texts,
            webViewUrl=urls,
            inboxTopic=small_texts,
        ),
        targetOnlyPrimaryDevices=flags,
        includeNotificationsDisabledDevices=flags,
        personSubscriptions=subscriptions,
        deviceSubscriptions=subscriptions,
    ),
    validity,
)

# LINE, whose Flex Messages nest

spacing = st.sampled_from(["XS", "MD", "XXL", "NONE"])
sizes = st.sampled_from(["XXS", "MD", "XXXXXL"])
colours = st.sampled_from(["#000000", "#ABCDEF"])
actions = st.one_of(
    fields({"type": st.just("POSTBACK"), "data": small_texts}, label=st.just("go"), displayText=small_texts),
    fields({"type": st.just("URI"), "uri": urls}, label=st.just("go")),
    fields({"type": st.just("MESSAGE"), "text": small_texts}, label=st.just("go")),
)


def _component(name: str, **needed: st.SearchStrategy[object]) -> Mapping[str, st.SearchStrategy[object]]:
    return {"type": st.just(name), **needed}


_flex = st.integers(0, 10)
_text = fields(
    _component("TEXT", text=small_texts),
    flex=_flex,
    margin=spacing,
    size=sizes,
    wrap=flags,
    maxLines=st.integers(0, 9),
    weight=st.sampled_from(["BOLD", "REGULAR"]),
    color=colours,
    action=actions,
)
_filler = fields(_component("FILLER"))
_spacer = fields(_component("SPACER"), size=spacing)
_picture = fields(
    {"url": urls},
    flex=_flex,
    align=st.just("CENTER"),
    gravity=st.just("TOP"),
    size=st.just("FULL"),
    aspectRatio=st.just("20:13"),
    aspectMode=st.sampled_from(["COVER", "FIT"]),
    backgroundColor=colours,
    action=actions,
)
_image = joined(fields(_component("IMAGE")), _picture)
_leaves = st.one_of(
    _text,
    _filler,
    _spacer,
    _image,
    fields(_component("SEPARATOR"), margin=spacing, color=colours),
    fields(
        _component("BUTTON", action=actions),
        flex=_flex,
        height=st.sampled_from(["SM", "MD"]),
        style=st.sampled_from(["LINK", "PRIMARY"]),
        gravity=st.just("BOTTOM"),
    ),
)
_baseline_leaves = st.one_of(
    _text, _filler, _spacer, fields(_component("ICON", url=urls), size=sizes, aspectRatio=st.just("1:1"))
)
_frame = fields(flex=_flex, spacing=spacing, margin=spacing, action=actions)


def _boxes(inner: st.SearchStrategy[object]) -> Drawn:
    rows = fields(
        {
            "layout": st.sampled_from(["HORIZONTAL", "VERTICAL"]),
            "contents": st.lists(inner, max_size=2),
        }
    )
    baselines = fields({"layout": st.just("BASELINE"), "contents": st.lists(_baseline_leaves, max_size=2)})
    return joined(_frame, rows | baselines)


_boxed = fields({"type": st.just("BOX")})
_components = st.recursive(_leaves, lambda inner: joined(_boxed, _boxes(inner)), max_leaves=3)
_block = _boxes(_components)
_style = fields(backgroundColor=colours, separator=flags, separatorColor=colours)
bubble = fields(
    {"type": st.just("BUBBLE")},
    direction=st.sampled_from(["LEFT_TO_RIGHT", "RIGHT_TO_LEFT"]),
    header=_block,
    hero=_picture | _image,
    body=_block | joined(_boxed, _block),
    footer=_block,
    styles=fields(header=_style, hero=_style, body=_style, footer=_style),
)
carousel = fields({"type": st.just("CAROUSEL"), "contents": st.lists(bubble, min_size=1, max_size=2)})
line = joined(
    st.one_of(
        fields(texts),
        fields({"type": st.just("TEXT"), **texts}),
        fields({"type": st.sampled_from(["IMAGE", "VIDEO"]), "url": urls}, thumbnailUrl=urls),
        fields({"type": st.just("AUDIO"), "url": urls}, duration=st.integers(0, 2**63 - 1)),
        fields({"type": st.just("STICKER"), "packageId": small_texts, "stickerId": small_texts}),
        fields({"type": st.just("FLEX"), "altText": small_texts, "contents": bubble | carousel}),
    ),
    validity,
)

v_kontakte = joined(fields(texts) | fields({"templateName": small_texts}, templateData=free_objects), validity)


def _kakao_button(name: str, **more: st.SearchStrategy[object]) -> Drawn:
    return fields({"type": st.just(name), "buttonText": st.just("x")}, **more)


_untyped = fields({"buttonText": st.just("x")}, androidScheme=small_texts)
_alim_buttons = st.one_of(
    _untyped,
    _kakao_button("URL", buttonUrl=urls, buttonUrlMobile=urls, buttonUrlPc=urls, target=st.just("out")),
    _kakao_button("APP_LINK", androidScheme=small_texts, iosScheme=small_texts, buttonUrlPc=urls),
    _kakao_button("CHATBOT_SWITCH", chatExtra=small_texts, chatEvent=small_texts),
    *map(_kakao_button, ["DELIVERY_TRACKING", "MESSAGE_DELIVERY", "BOT_KEYWORD", "ADD_CHANNEL"]),
)
_chingu_buttons = st.one_of(
    _untyped,
    fields({"type": st.just("URL"), "buttonText": st.just("x"), "buttonUrl": urls}),
    fields(
        {
            "type": st.just("APP_LINK"),
            "buttonText": st.just("x"),
            "androidScheme": small_texts,
            "iosScheme": small_texts,
        }
    ),
    *map(_kakao_button, ["MESSAGE_DELIVERY", "BOT_KEYWORD"]),
)
kakao_alim = joined(
    fields(
        {**texts, "templateCode": st.just("code")},
        title=small_texts,
        groupKey=small_texts,
        buttons=st.lists(_alim_buttons, min_size=1, max_size=5),
    ),
    validity,
)
kakao_chingu = joined(
    fields(
        texts,
        imageUrl=urls,
        imageLink=urls,
        isPromotional=flags,
        buttons=st.lists(_chingu_buttons, min_size=1, max_size=5),
    ),
    validity,
)
facebook = joined(fields(texts) | fields({"type": st.just("IMAGE"), "url": urls}), validity)

_any_channel = fields(
    sms=sms,
    viber=viber,
    voice=voice,
    facebook=facebook,
    email=email,
    whatsApp=whats_app,
    push=push,
    vKontakte=v_kontakte,
    kakaoAlim=kakao_alim,
    kakaoChingu=kakao_chingu,
)
channels = joined(_any_channel, fields({"line": line}) | st.just({})).filter(bool)
"""Contents of one channel or more."""

simple_content = fields(texts, mailSubject=small_texts)
reporting = fields(
    notify=flags,
    intermediateReport=flags,
    notifyUrl=urls,
    notifyContentType=st.sampled_from(["application/json", "application/xml"]),
    callbackData=small_texts,
)
"""What OMNI is to do about its own delivery reports."""
