// The sandbox's page. Texts of messages are only ever text nodes: nothing here makes markup out of a string.
//
// One file, so that nothing is to be built or to be loaded in turn. In this order: tools, the list, one message, the
// phone, samples, updates, what people do. Formatted by prettier: 120 columns, no bracket spacing, and no parentheses
// around one argument.

const ROW = 74; // pixels; page.css has the same
const MARGIN = 8; // rows beyond those that are visible
const PAUSE = 300; // milliseconds between two updates, at least
const NARROW = "(max-width: 760px)"; // shows the inbox or a message; page.css has the same

const $ = id => document.getElementById(id);
const scroller = $("scroller"),
  rows = $("rows");

const CHANNELS = {
  SMS: {field: "sms", name: "SMS", icon: "chat", look: "sms"},
  VIBER: {field: "viber", name: "Viber", icon: "chat", look: "viber"},
  WHATSAPP: {field: "whatsApp", name: "WhatsApp", icon: "chat", look: "whatsapp"},
  EMAIL: {field: "email", name: "E-mail", icon: "mail", look: "email"},
  VOICE: {field: "voice", name: "Voice", icon: "call", look: "voice"},
  PUSH: {field: "push", name: "Push", icon: "bell", look: "push"},
  FACEBOOK: {field: "facebook", name: "Messenger", icon: "chat", look: "facebook"},
  LINE: {field: "line", name: "LINE", icon: "chat", look: "line"},
  VKONTAKTE: {field: "vKontakte", name: "VK", icon: "chat", look: "vk"},
  KAKAO_ALIM: {field: "kakaoAlim", name: "Kakao Alim", icon: "chat", look: "kakao"},
  KAKAO_CHINGU: {field: "kakaoChingu", name: "Kakao Chingu", icon: "chat", look: "kakao"},
  PARSECO: {field: "parseco", name: "Parseco", icon: "chat", look: "other"},
};
const STATES = {
  scheduled: "Scheduled",
  accepted: "Accepted",
  delivered: "Delivered",
  seen: "Seen",
  failed: "Failed",
  refused: "Refused",
};
const FAULTS = [
  ["status", "Unavailable", "HTTP 503 with Retry-After: 1", {status: 503, retryAfter: 1}],
  ["latency", "Slow", "The answer is three seconds late", {seconds: 3}],
  ["reset", "Connection reset", "The connection breaks instead of an answer", {}],
  ["hang", "No answer", "The call hangs until the caller gives up", {}],
  ["garbage", "Unreadable answer", "HTTP 200, and a body that is cut off", {}],
  ["empty", "Empty answer", "HTTP 200 without a body", {}],
  ["html", "Web page", "HTTP 200 with a page, as a proxy may answer", {}],
  ["refuse", "Refused", "HTTP 200 in which every message is refused", {}],
];

// --- small tools -----------------------------------------------------------------------------------------------------

/** Make an element; children are elements or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const text = (value, attributes = {}, tag = "p") => make(tag, {dir: "auto", ...attributes}, String(value));
const channelOf = name => CHANNELS[name] ?? {name, icon: "chat", look: "other"};
const number = value => value.toLocaleString("en");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

function time(moment, withSeconds = false) {
  const date = new Date(moment);
  const clock = date.toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds && {second: "2-digit"}),
  });
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock : `${date.toLocaleDateString([], {day: "numeric", month: "short"})}, ${clock}`;
}

function announce(words) {
  $("announcement").textContent = words;
}

async function ask(path, method = "GET", body) {
  const headers = body === undefined ? {} : {"content-type": "application/json"};
  const answer = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
  if (!answer.ok) throw Object.assign(new Error(`HTTP ${answer.status}`), {status: answer.status});
  return answer.status === 204 ? null : answer.json();
}

/** Do what a button asks for, and say so if it cannot be done. */
async function act(done, action) {
  try {
    await action();
    announce(done);
  } catch (error) {
    announce(`Not done: ${error.message}`);
  }
  refresh();
}

// --- the list: only the rows that are visible exist ------------------------------------------------------------------

const list = {total: 0, filter: "", shown: new Map(), focus: null};

function filterOf() {
  const query = new URLSearchParams();
  const words = $("search").value.trim().slice(0, 200); // the longest search
  if (words) query.set("search", words);
  if ($("state").value) query.set("state", $("state").value);
  return query;
}

let isLoading = false,
  isAskedAgain = false,
  timer = 0,
  pause = PAUSE,
  announceAt = 0;

/** Show what is visible now; calls meanwhile make one more round. */
async function load() {
  isAskedAgain = isLoading;
  if (isLoading) return;
  isLoading = true;
  try {
    do {
      isAskedAgain = false;
      const query = filterOf(),
        filter = query.toString();
      const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - MARGIN);
      query.set("offset", first);
      query.set("limit", Math.min(100, Math.ceil(scroller.clientHeight / ROW) + 2 * MARGIN));
      const asked = performance.now(),
        answer = await ask(`/sandbox/inbox?${query}`);
      // A search through very many messages is not all that the sandbox has to do.
      pause = Math.max(PAUSE, 4 * (performance.now() - asked));
      showList(answer, first, filter);
    } while (isAskedAgain);
  } catch {
    setTimeout(refresh, 2000); // the sandbox is away, or was restarted
  } finally {
    isLoading = false;
  }
}

function showList(answer, first, filter) {
  const added = answer.total - list.total,
    isSame = filter === list.filter;
  list.total = answer.total;
  list.filter = filter;
  rows.style.height = `${answer.total * ROW}px`;
  if (isSame && added > 0 && scroller.scrollTop > 0) {
    scroller.scrollTop += added * ROW; // what is being read stays where it is
    isAskedAgain = true;
  }
  if (answer.total && first >= answer.total) isAskedAgain = true;
  showRows(answer.messages, first);
  showFigures(answer, filter);
  const isNarrow = matchMedia(NARROW).matches;
  if (chosen().id === null && answer.messages.length && first === 0 && !isNarrow) choose(answer.messages[0], true);
  if (isSame && added > 0 && performance.now() > announceAt) {
    announceAt = performance.now() + 5000; // while very many arrive, a screen reader has other things to say
    announce(`${plural(added, "new message")}, ${number(answer.total)} in all`);
  }
  if (!isSame) announce(plural(answer.total, "message"));
  updateAfter(answer.changesIn);
  performance.getEntriesByName("first-rows").length || performance.mark("first-rows");
}

function showRows(messages, first) {
  const hadFocus = rows.contains(document.activeElement),
    kept = new Map();
  messages.forEach((message, index) => {
    const key = `${message.call} ${message.messageId}`;
    const row = list.shown.get(key) ?? make("li", {}, make("button", {type: "button", class: "row"}));
    fillRow(row, message, first + index);
    kept.set(key, row);
  });
  for (const [key, row] of list.shown) if (!kept.has(key)) row.remove();
  [...kept.values()].forEach((row, place) => {
    if (rows.children[place] !== row) rows.insertBefore(row, rows.children[place] ?? null);
  });
  list.shown = kept;
  if (list.focus !== null) {
    rowAt(list.focus)?.firstChild.focus({preventScroll: true});
    if (rowAt(list.focus)) list.focus = null;
  } else if (hadFocus && !rows.contains(document.activeElement)) {
    scroller.focus({preventScroll: true});
  }
  markSelected();
}

const rowAt = index => [...list.shown.values()].find(row => Number(row.dataset.index) === index);

function fillRow(row, message, index) {
  const content = JSON.stringify(message);
  row.dataset.index = index;
  row.style.transform = `translateY(${index * ROW}px)`;
  row.setAttribute("aria-posinset", index + 1);
  row.setAttribute("aria-setsize", list.total);
  if (row.content === content) return;
  row.content = content;
  row.message = message;
  const channel = channelOf(message.channel);
  row.firstChild.replaceChildren(
    make("span", {class: `avatar ${channel.look}`}, icon(channel.icon)),
    make(
      "span",
      {class: "line"},
      text(message.to, {class: "to"}, "b"),
      make("time", {datetime: message.receivedAt}, time(message.receivedAt)),
    ),
    make(
      "span",
      {class: "line"},
      make(
        "span",
        {class: "snippet"},
        make("b", {}, channel.name),
        " ",
        text(message.text || "Template or media", {}, "bdi"),
      ),
      chip(message),
    ),
  );
}

function chip(message) {
  const over = message.failedOver ? ", failed over" : "";
  return make("span", {class: `chip ${message.state}`}, `${STATES[message.state]}${over}`);
}

function showFigures({total, stats, lastCall, faults, options}, filter) {
  $("count").textContent = filter ? `${plural(total, "message")} found` : plural(total, "message");
  const twice = stats.messagesTakenMoreThanOnce;
  const injected = stats.faults ? `, ${number(stats.faults)} with a fault` : "";
  const last =
    lastCall === null || lastCall.status === 200
      ? ""
      : `, the last: ${lastCall.status ? `HTTP ${lastCall.status}` : (lastCall.fault ?? "not answered yet")}`;
  $("stats").textContent =
    plural(stats.calls, "call") + injected + last + (twice ? ` · ${plural(twice, "message")} posted twice` : "");
  $("empty").hidden = total > 0 || filter !== "";
  $("no-match").hidden = total > 0 || filter === "";
  $("fault-count").hidden = faults.length === 0;
  $("fault-count").textContent = `${plural(faults.length, "fault")} on`;
  $("automatic").checked = options.answers > 0;
  $("read").checked = options.seen;
  if (current) $("hint").textContent = hint(current);
  for (const [kind, , description] of FAULTS) {
    const set = faults.filter(fault => fault.kind === kind);
    const left = set.reduce((sum, fault) => sum + (fault.times ?? Infinity), 0);
    $(`fault-${kind}`).checked = set.length > 0;
    $(`about-${kind}`).textContent =
      set.length && left < Infinity ? `${description}; ${plural(left, "call")} left` : description;
  }
}

function moveFocus(index) {
  list.focus = Math.max(0, Math.min(list.total - 1, index));
  const top = list.focus * ROW;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW - scroller.clientHeight;
  const row = rowAt(list.focus);
  if (row) {
    row.firstChild.focus({preventScroll: true});
    list.focus = null;
  }
  load();
}

function markSelected() {
  const {id, call} = chosen();
  let tabStop = null;
  for (const row of list.shown.values()) {
    const isSelected = row.message.messageId === id && String(row.message.call) === call;
    row.firstChild.toggleAttribute("aria-current", false);
    if (isSelected) row.firstChild.setAttribute("aria-current", "true");
    row.firstChild.tabIndex = -1;
    if (isSelected || tabStop === null) tabStop = row;
  }
  if (tabStop) tabStop.firstChild.tabIndex = 0;
}

// --- one message -----------------------------------------------------------------------------------------------------

let current = null,
  call = null,
  channelChosen = null,
  messageShown = "",
  contentShown = "";

function chosen() {
  const query = new URLSearchParams(location.hash.slice(1));
  return {id: query.get("message"), call: query.get("call") ?? ""};
}

function choose(message, isFirst = false) {
  const hash = `#${new URLSearchParams({message: message.messageId, call: message.call})}`;
  if (!isFirst) location.hash = hash;
  else (history.replaceState(null, "", hash), markSelected(), showMessage());
}

async function showMessage() {
  const asked = chosen();
  document.body.classList.toggle("reading", asked.id !== null);
  if (asked.id === null) {
    current = null;
    messageShown = "";
    $("shown").hidden = true;
    $("nothing").hidden = false;
    return;
  }
  try {
    const message = await ask(
      `/sandbox/message?${new URLSearchParams({messageId: asked.id, call: asked.call || "0"})}`,
    );
    // A sandbox that was restarted counts its calls anew.
    const key = `${message.call} ${message.receivedAt}`;
    const known = call?.key === key && call.status !== null ? call : {key, ...(await askCall(message.call))};
    if (chosen().id !== asked.id || chosen().call !== asked.call) return; // another one was chosen meanwhile
    call = known;
    fillMessage(message);
  } catch (error) {
    if (error.status === 404) location.hash = "";
  }
}

async function askCall(number) {
  const found = await ask(`/sandbox/call?call=${number}`).catch(() => ({})); // the sandbox may have dropped it
  return {contents: {}, request: null, answer: null, ...found};
}

function fillMessage(message) {
  const isOther = current === null || current.messageId !== message.messageId || current.call !== message.call;
  const content = JSON.stringify([{...message, changesIn: null}, call.status]);
  current = message;
  updateAfter(message.changesIn);
  $("hint").textContent = hint(message);
  if (messageShown === content) return; // a selected text stays selected
  messageShown = content;
  if (isOther) channelChosen = null;
  $("nothing").hidden = true;
  $("shown").hidden = false;
  $("message-title").textContent = message.to;
  $("message-state").replaceChildren(
    chip(message),
    ...(message.times > 1 ? [make("span", {class: "chip failed"}, `Posted ${message.times} times`)] : []),
  );
  for (const button of document.querySelectorAll("[data-outcome]")) {
    button.setAttribute("aria-disabled", !message.outcomes.includes(button.dataset.outcome));
  }
  fillPhone(message);
  fillTimeline(message);
  fillReports(message);
  fillFacts(message);
  if (isOther && document.body.classList.contains("reading") && matchMedia(NARROW).matches) {
    scrollTo(0, 0);
    $("message-title").focus();
  }
}

function hint(message) {
  if (message.state === "accepted") return "Fail ends this channel, and the next one of the scenario begins.";
  if (message.state === "delivered" && $("automatic").checked)
    return "The outcome is final. To decide yourself, switch off automatic delivery under Faults and delivery.";
  if (message.state === "scheduled") return `Will be sent at ${time(message.steps[0].sentAt, true)}.`;
  return message.state === "seen" ? "The person has read it." : "The outcome is final.";
}

function fillTimeline(message) {
  const entries = message.steps.map(step => {
    const isFailed = step.status && step.status.groupId !== 3;
    const state =
      step.status === null
        ? message.state === "scheduled"
          ? "scheduled"
          : "accepted"
        : isFailed
          ? "failed"
          : "delivered";
    const words =
      step.status === null
        ? `${STATES[state]} ${time(step.sentAt, true)}`
        : `${isFailed ? step.status.name : "Delivered"} ${time(step.doneAt, true)}`;
    return make(
      "li",
      {class: state},
      make("b", {}, channelOf(step.channel).name),
      make("span", {}, words),
      step.status === null || !isFailed ? "" : make("small", {}, step.status.description),
    );
  });
  if (message.state === "seen")
    entries.push(make("li", {class: "seen"}, make("b", {}, "Seen"), make("span", {}, "The person has read it")));
  $("timeline").replaceChildren(...entries);
}

function fillReports(message) {
  const lines = message.pushes.map(push => {
    const name = push.report.status ? push.report.status.name : "SEEN";
    const outcome = push.status === null ? "no answer" : `HTTP ${push.status}`;
    return make(
      "li",
      {class: push.status >= 200 && push.status < 300 ? "good" : "bad"},
      make("b", {}, name),
      make("span", {}, ` ${outcome}${push.attempt > 1 ? `, attempt ${push.attempt}` : ""}`),
    );
  });
  const why = !message.notify
    ? "The request wants no reports."
    : message.state === "refused"
      ? "A refused message has no report."
      : message.notifyUrl === null
        ? "The request has no notifyUrl. GET /omni/1/reports returns the report."
        : !message.isPushed
          ? "The notifyUrl is on another machine, which is not called: see --push-anywhere."
          : lines.length
            ? ""
            : "Not pushed yet.";
  const url = message.isPushed ? make("p", {class: "address"}, message.notifyUrl) : "";
  $("reports").replaceChildren(
    ...[
      url,
      lines.length ? make("ol", {class: "pushes"}, ...lines) : "",
      why && make("p", {class: "hint"}, why),
    ].filter(Boolean),
  );
}

function fillFacts(message) {
  const search = words => {
    const button = make("button", {type: "button", class: "link"}, words);
    button.addEventListener("click", () => filterBy(words));
    return button;
  };
  const facts = [
    ["Message id", message.messageId],
    ["Request", search(`#${message.call}`)],
    ["Bulk id", message.bulkId && search(message.bulkId)],
    ["Recipient", search(message.to)],
    ["Sender", message.steps.at(-1).from],
    ["Received", time(message.receivedAt, true)],
    ["Callback data", message.callbackData],
  ];
  if (!document.activeElement || !$("ids").contains(document.activeElement)) {
    $("ids").replaceChildren(
      ...facts
        .filter(([, value]) => value)
        .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {dir: "auto"}, value)]),
    );
  }
  fillBody("request", "Request", `POST ${call.path ?? ""}`, call.request);
  fillBody(
    "answer",
    "Answer",
    call.status ? `HTTP ${call.status}` : call.fault ? `none: ${call.fault}` : "none yet",
    call.answer,
  );
}

function fillBody(id, name, about, body) {
  const [summary, content] = $(id).children,
    shown = body === null ? "It is no longer kept." : body.text || "It is empty.";
  summary.replaceChildren(make("b", {}, name), make("span", {}, ` ${about}`));
  if (content.firstChild?.textContent === shown) return;
  const pre = make("pre", {tabindex: 0, "aria-label": name}, shown);
  content.replaceChildren(
    pre,
    ...(body?.isCut ? [make("p", {class: "hint"}, "Cut off after 50,000 characters.")] : []),
  );
}

// --- the phone -------------------------------------------------------------------------------------------------------

function fillPhone(message) {
  const step = message.steps.at(-1),
    contents = call.contents;
  const offered = Object.keys(CHANNELS).filter(name => CHANNELS[name].field in contents);
  const name = channelChosen ?? step.channel;
  const key = JSON.stringify([message.messageId, message.call, name, message.state, step, offered]);
  if (contentShown === key) return;
  contentShown = key;
  const buttons = (offered.length > 1 ? offered : []).map(each => {
    const button = make("button", {type: "button", "aria-pressed": each === name}, channelOf(each).name);
    button.addEventListener("click", () => {
      channelChosen = each;
      fillPhone(current);
      [...$("channels").children].find(other => other.textContent === channelOf(each).name)?.focus();
    });
    return button;
  });
  const hadFocus = $("channels").contains(document.activeElement);
  $("channels").replaceChildren(...buttons);
  if (hadFocus) buttons.find(button => button.getAttribute("aria-pressed") === "true")?.focus();
  const channel = channelOf(name),
    content = contents[channel.field] ?? {text: step.text};
  const sent = {
    sender: step.from ?? "Unknown sender",
    to: message.to,
    at: step.sentAt,
    state: name === step.channel ? message.state : null,
  };
  const screen = (SCREENS[channel.look] ?? chatScreen)(content, sent, channel);
  $("phone").replaceChildren(
    make(
      "div",
      {
        class: `screen ${channel.look}`,
        tabindex: 0,
        role: "region",
        "aria-label": `${channel.name} on the phone of ${message.to}`,
      },
      ...screen,
    ),
  );
  $("caption").textContent = caption(name, content, step);
}

function caption(name, content, step) {
  const notes = [];
  if (name === "SMS" && call.sms) notes.push(`${call.sms.encoding} · ${plural(call.sms.parts.length, "part")}`);
  if (name === "SMS" && (content.transliteration || content.language))
    notes.push("A language or transliteration may need fewer parts.");
  if (name !== step.channel)
    notes.push(`Not the channel of the present step, which is ${channelOf(step.channel).name}.`);
  return notes.join(" · ");
}

/** Show an address instead of what it names: it was chosen by the sender, and is loaded only if a person follows it. */
function attachment(name, address) {
  return make(
    "div",
    {class: "attachment"},
    icon("image"),
    make("b", {}, name),
    make("span", {class: "address"}, address),
    link(address, "Open"),
  );
}

function link(address, words, attributes = {}) {
  const isWeb = URL.canParse(address) && ["http:", "https:"].includes(new URL(address).protocol);
  return isWeb ? make("a", {href: address, target: "_blank", rel: "noopener noreferrer", ...attributes}, words) : "";
}

function chatHeader(title, note) {
  return make(
    "div",
    {class: "app"},
    make("span", {class: "face", "aria-hidden": "true"}, [...title][0] ?? "?"),
    make("div", {}, text(title, {}, "b"), make("small", {}, note)),
  );
}

const ticks = {accepted: "✓", delivered: "✓✓", seen: "✓✓"};

function bubble(sent, ...children) {
  const foot = make(
    "small",
    {class: `foot ${sent.state ?? ""}`},
    time(sent.at),
    sent.state in ticks ? ` ${ticks[sent.state]}` : "",
  );
  return make("div", {class: "bubble"}, ...children, foot);
}

function smsScreen(content, sent) {
  const parts = call.sms?.parts ?? [{text: content.text ?? ""}];
  const pieces = parts.flatMap((part, index) => [
    parts.length > 1
      ? make("small", {class: "part"}, `Part ${index + 1} of ${parts.length} · ${part.units} of ${call.sms?.room}`)
      : "",
    text(part.text, {class: "text"}),
  ]);
  return [chatHeader(sent.sender, "Text message"), make("div", {class: "chat"}, bubble(sent, ...pieces))];
}

const ATTACHMENTS = [
  ["Image", "imageURL"],
  ["Image", "imageUrl"],
  ["Document", "documentUrl"],
  ["File", "fileUrl"],
  ["Video", "videoUrl"],
  ["Audio", "audioUrl"],
  ["Content", "url"],
  ["Preview", "thumbnailUrl"],
  ["Link of the image", "imageLink"],
];

const attachments = content =>
  ATTACHMENTS.filter(([, field]) => content[field]).map(([name, field]) => attachment(name, content[field]));

function buttonsOf(content) {
  const kakao = Array.isArray(content.buttons)
    ? content.buttons.map(each => [each.buttonText, each.buttonUrl ?? each.buttonUrlMobile ?? each.buttonUrlPc])
    : [];
  return [...(content.buttonText ? [[content.buttonText, content.buttonURL]] : []), ...kakao].map(([words, address]) =>
    make(
      "div",
      {class: "reply"},
      link(address ?? "", words, {dir: "auto"}) || text(words, {}, "span"),
      make("small", {class: "address"}, address ?? ""),
    ),
  );
}

function chatScreen(content, sent, channel) {
  const template = content.templateName ?? content.templateCode;
  const media = content.mediaTemplateData;
  const values = media
    ? (media.body?.placeholders ?? [])
    : Array.isArray(content.templateData)
      ? content.templateData
      : Object.entries(content.templateData ?? {}).map(([name, value]) => `${name}: ${value}`);
  const place =
    content.latitude !== undefined
      ? [content.locationName, content.address, `${content.latitude}, ${content.longitude}`].filter(Boolean).join("\n")
      : "";
  const contacts = (content.contacts ?? []).map(each =>
    text(`Contact: ${each.name?.formattedName ?? ""}`, {class: "text"}),
  );
  return [
    chatHeader(sent.sender, channel.name),
    make(
      "div",
      {class: "chat"},
      bubble(
        sent,
        template
          ? make(
              "small",
              {class: "template"},
              `Template ${template}${content.language ? ` (${content.language})` : ""}`,
            )
          : "",
        content.title || content.altText ? text(content.title ?? content.altText, {}, "b") : "",
        ...(media?.header ? attachments(media.header) : []),
        media?.header?.textPlaceholder ? text(media.header.textPlaceholder, {}, "b") : "",
        ...attachments(content),
        content.text ? text(content.text, {class: "text"}) : "",
        values.length ? make("ol", {class: "values"}, ...values.map(value => text(value, {}, "li"))) : "",
        place ? text(place, {class: "text"}) : "",
        ...contacts,
        ...buttonsOf(content),
        content.stickerId ? text(`Sticker ${content.packageId} / ${content.stickerId}`) : "",
      ),
    ),
  ];
}

function emailScreen(content, sent) {
  return [
    make("div", {class: "app"}, make("b", {}, "Mail")),
    make(
      "article",
      {class: "mail"},
      text(content.subject || "No subject", {class: "subject"}),
      make(
        "div",
        {class: "envelope"},
        make("span", {class: "face", "aria-hidden": "true"}, [...sent.sender][0] ?? "?"),
        make("div", {}, text(sent.sender, {}, "b"), make("small", {}, `to ${sent.to} · ${time(sent.at)}`)),
      ),
      text(content.text ?? "", {class: "text"}),
    ),
  ];
}

function voiceScreen(content, sent) {
  return [
    make(
      "div",
      {class: "caller"},
      make("span", {class: "face", "aria-hidden": "true"}, icon("call")),
      text(sent.sender, {}, "b"),
      make("small", {}, "Incoming call"),
    ),
    make(
      "div",
      {class: "spoken"},
      make("small", {}, `Spoken${content.language ? ` in ${content.language}` : ""}`),
      text(content.text ?? "", {class: "text"}),
    ),
    make(
      "div",
      {class: "handles", "aria-hidden": "true"},
      make("span", {class: "decline"}, icon("call")),
      make("span", {class: "take"}, icon("call")),
    ),
  ];
}

function pushScreen(content, sent) {
  const options = content.notificationOptions ?? {};
  const at = new Date(sent.at);
  return [
    make(
      "div",
      {class: "lock"},
      make("span", {}, at.toLocaleDateString([], {weekday: "long", day: "numeric", month: "long"})),
      make("b", {}, at.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"})),
    ),
    make(
      "div",
      {class: "notice"},
      make("small", {}, `${sent.sender} · now`),
      options.title ? text(options.title, {}, "b") : "",
      text(content.text ?? "Silent: only the app sees it", {class: "text"}),
      options.contentUrl ? attachment("Content", options.contentUrl) : "",
    ),
  ];
}

const SCREENS = {sms: smsScreen, email: emailScreen, voice: voiceScreen, push: pushScreen};

// --- samples ---------------------------------------------------------------------------------------------------------

async function sendSamples() {
  const phone = {phoneNumber: "41793026727"},
    shop = "https://shop.example";
  const samples = [
    {to: phone, voice: {text: "Hello. Your parcel arrives today between two and four o'clock.", language: "en"}},
    {
      to: {emailAddress: "ada@example.com"},
      email: {
        subject: "Your order 8812 is on its way",
        text: "Hello Ada,\n\nyour order left our warehouse this morning and arrives tomorrow.\n\nYour shop",
      },
    },
    {
      to: phone,
      push: {text: "Your table for four is reserved for 19:30.", notificationOptions: {title: "See you tonight"}},
    },
    {
      to: phone,
      whatsApp: {
        templateName: "order_update",
        language: "en",
        mediaTemplateData: {
          header: {imageUrl: `${shop}/parcel.jpg`},
          body: {placeholders: ["Ada", "order 8812", "tomorrow"]},
        },
      },
    },
    {
      to: {phoneNumber: "4179392200"},
      viber: {text: "Your parcel waits at the station.", validityPeriod: 1},
      sms: {text: "Your parcel waits at the station. Code 4711"},
    },
    {to: {phoneNumber: "41790091014"}, sms: {text: "This number is on a block list."}},
    {
      to: phone,
      sms: {
        text:
          "Your appointment is on Monday at 10:30 with Dr. Grünwald, second floor. Please bring your insurance card " +
          "and the letter of your family doctor. To move the appointment, answer with “M”; to cancel it, answer with “C”.",
      },
    },
    {
      to: phone,
      viber: {
        text: "Spring is here: 20 % off all running shoes until Sunday.",
        imageURL: `${shop}/spring.jpg`,
        buttonText: "Look at the shoes",
        buttonURL: `${shop}/running`,
      },
    },
  ];
  for (const {to, ...contents} of samples) {
    const answer = await fetch("/omni/1/advanced", {
      method: "POST",
      headers: {"content-type": "application/json", authorization: "App page"},
      body: JSON.stringify({destinations: [{to}], ...contents}),
    });
    if (answer.status === 401) throw new Error("this sandbox wants its own API key");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  }
}

// --- updates ---------------------------------------------------------------------------------------------------------

let updated = 0,
  pending = 0,
  due = Infinity;

/** Show everything anew, soon. */
function refresh() {
  if (pending || document.hidden) return;
  pending = setTimeout(
    () => {
      pending = 0;
      updated = performance.now();
      due = Infinity;
      load();
      showMessage();
    },
    Math.max(0, updated + pause - performance.now()),
  );
}

/** Refresh when the first message that is shown changes by itself; `seconds` may be null. */
function updateAfter(seconds) {
  if (seconds === null || seconds > 86400) return;
  const at = performance.now() + Math.max(seconds * 1000 + 20, PAUSE);
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(refresh, at - performance.now());
}

let stream = null;

function follow() {
  stream?.close();
  stream = null;
  if (document.hidden) return; // browsers allow six connections to a server, for all its pages together
  stream = new EventSource("/sandbox/changes");
  stream.onmessage = () => {
    $("live").textContent = "Live";
    $("live").className = "live on";
    refresh();
  };
  stream.onerror = () => {
    $("live").textContent = "Not connected";
    $("live").className = "live off";
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 5000); // too many pages are open
  };
}

// --- what people do --------------------------------------------------------------------------------------------------

function filterBy(words) {
  $("search").value = words;
  $("state").value = "";
  scroller.scrollTop = 0;
  location.hash = matchMedia(NARROW).matches ? "" : location.hash;
  load();
}

function makeFaults() {
  $("faults").replaceChildren(
    ...FAULTS.map(([kind, name, description, options]) => {
      const box = make("input", {type: "checkbox", role: "switch", id: `fault-${kind}`});
      box.addEventListener("change", () =>
        act(`${name}: ${box.checked ? "on" : "off"}`, () => {
          if (!box.checked) return ask(`/sandbox/faults?kind=${kind}`, "DELETE");
          const times = $("times").value ? {times: Number($("times").value)} : {};
          return ask("/sandbox/faults", "POST", {kind, taken: $("taken").checked, ...times, ...options});
        }),
      );
      return make(
        "label",
        {class: "switch"},
        box,
        make("span", {}, make("b", {}, name), make("small", {id: `about-${kind}`}, description)),
      );
    }),
  );
}

makeFaults();
$("base-url").textContent = `RELAY_OMNI_BASE_URL=${location.origin}`;
scroller.addEventListener("scroll", load, {passive: true});
rows.addEventListener("click", event => {
  const row = event.target.closest("li");
  if (row) choose(row.message);
});
rows.addEventListener("keydown", event => {
  const index = Number(event.target.closest("li")?.dataset.index),
    page = Math.floor(scroller.clientHeight / ROW);
  const moves = {
    ArrowDown: index + 1,
    ArrowUp: index - 1,
    PageDown: index + page,
    PageUp: index - page,
    Home: 0,
    End: list.total - 1,
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  moveFocus(moves[event.key]);
});
$("filter").addEventListener("submit", event => event.preventDefault());
$("filter").addEventListener("input", () => {
  scroller.scrollTop = 0;
  load();
});
$("clear-filter").addEventListener("click", () => filterBy(""));
$("back").addEventListener("click", () => {
  location.hash = "";
  setTimeout(() => rows.querySelector("[tabindex='0']")?.focus());
});
for (const button of document.querySelectorAll("[data-outcome]")) {
  const outcome = button.dataset.outcome;
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return announce($("hint").textContent);
    act(`Message ${outcome}`, async () =>
      fillMessage(await ask("/sandbox/outcome", "POST", {messageId: current.messageId, outcome})),
    );
  });
}
for (const button of document.querySelectorAll("[data-advance]")) {
  button.addEventListener("click", () =>
    act("The clock was moved", () => ask("/sandbox/clock", "POST", {advance: Number(button.dataset.advance)})),
  );
}
$("automatic").addEventListener("change", event =>
  act(`Automatic delivery: ${event.target.checked ? "on" : "off"}`, () =>
    ask("/sandbox/options", "POST", {answers: event.target.checked ? 1 : 0}),
  ),
);
$("read").addEventListener("change", event =>
  act(`Automatic reading: ${event.target.checked ? "on" : "off"}`, () =>
    ask("/sandbox/options", "POST", {seen: event.target.checked}),
  ),
);
$("forget").addEventListener(
  "click",
  () =>
    confirm("Delete all messages and reports?") &&
    act("All messages were deleted", () => ask("/sandbox/messages", "DELETE")),
);
$("samples").addEventListener("click", () => act("Eight sample messages were sent", sendSamples));
$("behaviour-button").addEventListener("click", () => $("behaviour").showModal());
$("behaviour-close").addEventListener("click", () => $("behaviour").close());
// Its backdrop belongs to the dialog.
$("behaviour").addEventListener("click", event => event.target === $("behaviour") && $("behaviour").close());
addEventListener("hashchange", () => {
  markSelected();
  showMessage();
});
addEventListener("resize", load);
document.addEventListener("visibilitychange", () => {
  follow();
  refresh();
});
follow();
load();
showMessage();
