// The page on which people label. The server holds all that is known; this shows one clip, takes keys, and sends answers.
"use strict";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const KEY = query.get("key") ?? "";
const SPEEDS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3];
const TOPS = [0, 16000, 8000, 4000, 2000]; // Hz; 0 is all that the recording has
const SHOWN = { first: "probe: after a key", always: "probe: shown", never: "probe: hidden" };
const PRESENT = "present", UNSURE = "unsure", ABSENT = "absent";
const ANSWERS = { taken: "Enter", nothing: "n", skipped: "s" };
const RETRY = 1000; // milliseconds until a server that does not answer is asked again

const audio = $("audio");
const media = new Map(); // of the clips that are shown next: their sound and pictures, fetched ahead
let session = null; // what the server last said
let who = query.get("who") ?? "";
let clip = null;
let answer = new Map(); // class to PRESENT or UNSURE; the others are absent
let latest = ""; // the class that was toggled last
let touched = false; // whether a key was pressed: browsers play no sound before
let busy = false; // an answer is on its way: the clip on the screen is not the next one yet
let early = []; // what was pressed meanwhile
let heard = 0, playedAt = null; // seconds of sound that were played
let taken = 0, seenAt = null; // milliseconds for which the clip was seen
const settings = { speed: 1, slow: false, top: 0, shown: "first", ...stored() };

function stored() {
  try { return JSON.parse(localStorage.getItem("oscine label")) ?? {}; } catch { return {}; }
}

function store() {
  try { localStorage.setItem("oscine label", JSON.stringify(settings)); } catch { /* kept for this page alone */ }
}

// ---- the server

async function ask(path, content) {
  const options = content === undefined ? {} : { method: "POST", body: JSON.stringify(content) };
  options.headers = { "X-Oscine-Key": KEY, "Content-Type": "application/json" };
  const reply = await fetch(path, options);
  const failed = { error: `The server failed (${reply.status}); its terminal says why. Nothing that was answered is lost.` };
  const said = await reply.json().catch(() => failed);
  if (!reply.ok) throw Object.assign(new Error(said.error), { told: true });
  return said;
}

function tell(text) {
  $("alert").hidden = !text;
  $("alert").textContent = text;
}

// Sends until the server answers: the answer on the screen stays where it is meanwhile.
async function send(path, content) {
  for (;;) {
    try {
      const said = await ask(path, content);
      tell(said.notice ?? "");
      return said;
    } catch (error) {
      if (error.told) { tell(error.message); return null; }
      early = []; // who waits for a server presses many keys
      tell("The server does not answer. This answer is kept here until it does; where it was stopped, start it again and open its new address.");
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
}

// Sends, and shows what came of it; returns whether the server took it.
async function act(path, content) {
  if (busy) return false;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  let said = null;
  try {
    said = await send(path, { who, ...content });
    if (said) show(said);
    else show(await ask("api/begin", { who })); // perhaps it was answered in another window
  } catch { /* what was told stays */
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
    catchUp(said !== null);
  }
  return said !== null;
}

// Classes that were pressed before the next clip was there are of that one; nobody has answered a clip unseen.
function catchUp(taken) {
  const pressed = early;
  early = [];
  if (!taken) return;
  for (const one of pressed) if (one.mark) one.mark();
  const unseen = pressed.find((one) => !one.mark);
  if (unseen) tell(`${unseen.key} came before this clip was on the screen; press it again.`);
}

// ---- a clip

function show(said) {
  session = said;
  who = said.who;
  for (const one of said.ahead) fetchAhead(one);
  for (const id of media.keys()) if (!said.ahead.some((one) => one.id === id)) forget(id);
  const next = said.ahead[0] ?? null;
  if (next === null || clip === null || next.id !== clip.id || next.position !== clip.position) open(next, said.given ?? {});
  for (const name of answer.keys()) if (!said.classes.includes(name)) answer.delete(name); // it was taken back
  draw();
}

function fetchAhead(one) {
  const pictures = media.get(one.id)?.pictures ?? new Map();
  const sounds = media.get(one.id)?.sounds ?? new Map();
  media.set(one.id, { pictures, sounds });
  if (one.error) return;
  const top = topOf(one), slower = slowerOf(one);
  keep(pictures, top, `picture/${one.id}.png?top=${top}`);
  keep(sounds, slower, `sound/${one.id}.wav?slower=${slower}`);
}

// Fetches what is not there; what could not be fetched is asked for again the next time.
function keep(made, name, path) {
  if (made.has(name)) return;
  made.set(name, blob(path));
  made.get(name).catch(() => made.delete(name));
}

async function blob(path) {
  const reply = await fetch(path, { headers: { "X-Oscine-Key": KEY } });
  if (!reply.ok) throw new Error((await reply.json()).error);
  return URL.createObjectURL(await reply.blob());
}

async function forget(id) {
  const { pictures, sounds } = media.get(id);
  media.delete(id);
  for (const url of [...pictures.values(), ...sounds.values()]) URL.revokeObjectURL(await url.catch(() => ""));
}

const topOf = (one) => (settings.top && settings.top < one.highest ? settings.top : 0);
const slowerOf = (one) => (settings.slow && one.ultrasound ? session.slower : 1);

function open(next, given) {
  pause();
  clip = next;
  answer = new Map(Object.entries(given).filter(([, state]) => state !== ABSENT));
  latest = [...answer.keys()].pop() ?? "";
  heard = taken = 0;
  seenAt = document.hidden ? null : performance.now();
  if (clip === null) return;
  showPicture();
  loadSound(touched);
}

async function showPicture() {
  const shown = clip;
  $("spectrogram").removeAttribute("src");
  if (shown.error) return tell(`${shown.name}: ${shown.error}. Skip it with s.`);
  try {
    const url = await media.get(shown.id).pictures.get(topOf(shown));
    if (shown === clip) $("spectrogram").src = url;
  } catch (error) {
    if (shown === clip) tell(`${shown.name}: ${error.message}. Skip it with s.`);
  }
}

async function loadSound(play, at = clip?.start) {
  const shown = clip, slower = slowerOf(shown ?? {});
  audio.removeAttribute("src");
  if (!shown || shown.error) return;
  try {
    const url = await media.get(shown.id).sounds.get(slower);
    if (shown !== clip || slower !== slowerOf(shown)) return;
    audio.src = url;
    audio.playbackRate = settings.speed;
    audio.currentTime = (at - shown.first) * slower;
    if (play) start();
  } catch { /* the picture says why */ }
}

// ---- sound

const place = () => (clip ? clip.first + audio.currentTime / slowerOf(clip) : 0); // in the recording's seconds

function start() {
  audio.play().catch(() => {}); // browsers that want another key first
}

function pause() {
  if (playedAt !== null) heard += Math.max(0, audio.currentTime - playedAt) / slowerOf(clip ?? {});
  playedAt = null;
  audio.pause();
}

function seek(seconds) {
  if (!clip || !audio.src) return;
  const playing = !audio.paused;
  pause();
  audio.currentTime = (Math.min(Math.max(seconds, clip.first), clip.last) - clip.first) * slowerOf(clip);
  if (playing) start();
}

function playOrPause() {
  if (!clip || !audio.src) return;
  if (!audio.paused) return pause();
  if (place() >= clip.last - 0.05 || Math.abs(place() - clip.end) < 0.05) audio.currentTime = (clip.start - clip.first) * slowerOf(clip);
  start();
}

audio.addEventListener("playing", () => { playedAt = audio.currentTime; });
audio.addEventListener("ended", pause);
audio.addEventListener("pause", () => { $("play").firstChild.data = "play "; });
audio.addEventListener("play", () => { $("play").firstChild.data = "pause "; follow(); });

function follow() {
  if (!clip) return;
  const here = place();
  $("playhead").style.left = `${(100 * (here - clip.first)) / (clip.last - clip.first)}%`;
  // It stops where the clip does, unless it was begun behind that.
  if (!audio.paused && playedAt !== null) {
    const began = clip.first + playedAt / slowerOf(clip);
    if (began < clip.end - 0.05 && here >= clip.end) pause();
  }
  if (!audio.paused) requestAnimationFrame(follow);
}

audio.addEventListener("seeked", follow);

function faster(step) {
  const low = clip?.ultrasound && step < 0 && settings.speed === SPEEDS[0] && !settings.slow;
  const back = settings.slow && step > 0;
  const at = place();
  if (low || back) settings.slow = low;
  else settings.speed = SPEEDS[Math.min(Math.max(SPEEDS.indexOf(settings.speed) + step, 0), SPEEDS.length - 1)] ?? 1;
  if (low) settings.speed = 1;
  store();
  audio.playbackRate = settings.speed;
  if (low || back) {
    const playing = !audio.paused;
    pause();
    for (const one of session.ahead) fetchAhead(one);
    loadSound(playing, at);
  }
  draw();
}

function nextRange() {
  const possible = TOPS.filter((top) => top < (clip?.highest ?? Infinity));
  settings.top = possible[(possible.indexOf(topOf(clip ?? { highest: Infinity })) + 1) % possible.length];
  store();
  for (const one of session.ahead) fetchAhead(one);
  if (clip) showPicture();
  draw();
}

// ---- the answer

function toggle(name) {
  if (!clip || !name) return;
  if (busy) return void early.push({ mark: () => toggle(name) });
  if (answer.get(name) === PRESENT) answer.delete(name);
  else {
    if (session.one_label) answer.clear();
    answer.set(name, PRESENT);
  }
  latest = name;
  tell("");
  draw();
}

function unsure() {
  if (busy) return void early.push({ mark: unsure });
  if (!latest) return tell("First say which class: u marks the last one that you chose.");
  answer.set(latest, answer.get(latest) === UNSURE ? PRESENT : UNSURE);
  draw();
}

function take(kind) {
  if (busy) return void early.push({ key: ANSWERS[kind] });
  if (!clip) return;
  if (kind === "taken" && session.one_label && !answer.size) return tell("Choose the class that sounds, or press n where none does.");
  pause();
  if (seenAt !== null) taken += performance.now() - seenAt;
  seenAt = performance.now();
  const states = kind === "taken" ? Object.fromEntries(answer) : {};
  act("api/answer", { clip: clip.id, position: clip.position, states, skipped: kind === "skipped", heard, taken: taken / 1000 });
}

function undo() {
  if (busy) return void early.push({ key: "⌫" });
  pause();
  act("api/undo", {});
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden && seenAt !== null) taken += performance.now() - seenAt;
  seenAt = document.hidden ? null : performance.now();
});

// ---- what is seen

function draw() {
  const s = session;
  $("who").textContent = who;
  $("progress").textContent = s.progress;
  $("told").textContent = s.told;
  $("answer").hidden = $("sound").hidden = clip === null;
  $("done").hidden = clip !== null;
  fill($("counts").querySelector("tbody"), s.counts, ([name, present, unsureOf]) => {
    const row = document.createElement("tr");
    for (const text of [name, present, unsureOf]) row.append(cell("td", text));
    return row;
  });
  fill($("signs"), s.signs, (text) => cell("li", text));
  $("shown").textContent = SHOWN[settings.shown];
  $("speed").textContent = settings.slow && clip?.ultrasound ? `÷ ${s.slower}` : `× ${settings.speed}`;
  if (clip) drawClip();
  else { $("name").textContent = "done"; $("when").textContent = ""; }
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function fill(parent, values, make) {
  parent.replaceChildren(...values.map(make));
}

function drawClip() {
  $("name").textContent = clip.name;
  $("when").textContent = clip.when;
  document.title = `${session.answered} · ${clip.name}`;
  const length = clip.last - clip.first, percent = (at) => (100 * (at - clip.first)) / length;
  $("before").style.width = `${percent(clip.start)}%`;
  $("after").style.width = `${100 - percent(clip.end)}%`;
  $("before").hidden = clip.start <= clip.first;
  $("after").hidden = clip.end >= clip.last;
  const top = (topOf(clip) || clip.highest) / 1000;
  $("range").textContent = `${+top.toFixed(1)} kHz`;
  fill($("kilohertz"), ticks(0, top, 5, ""), (at) => put(cell("li", `${at}`), "bottom", (100 * at) / top));
  $("kilohertz").append(put(cell("li", "kHz"), "bottom", 96));
  fill($("seconds"), ticks(clip.first, clip.last, 10), (at) => put(cell("li", `${at} s`), "left", percent(at)));
  $("why").textContent = visible() ? clip.why : "";
  fill($("classes"), inView(), button);
  follow();
}

function put(made, side, percent) {
  made.style[side] = `${percent}%`;
  return made;
}

function ticks(low, high, most, unit = "s") {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].find((one) => (high - low) / one <= most) ?? 200;
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) found.push(+(n * step).toFixed(2));
  return found.filter((at) => unit || at < high * 0.88);
}

const visible = () => settings.shown === "always" || (settings.shown === "first" && answer.size > 0);

// The nine that keys toggle, in the order of all classes, and behind them others that were chosen by name.
function inView() {
  const others = [...answer.keys()].filter((name) => !clip.view.includes(name));
  return [...clip.view, ...others];
}

function button(name, at) {
  const made = document.createElement("button"), state = answer.get(name) ?? ABSENT, p = clip.probabilities[name];
  made.type = "button";
  made.tabIndex = 0;
  made.setAttribute("aria-pressed", state === PRESENT ? "true" : state === UNSURE ? "mixed" : "false");
  const number = cell("kbd", at < clip.view.length ? `${at + 1}` : "/");
  made.append(number, Object.assign(cell("span", name), { className: "label" }));
  const heard = session.counts.find(([one]) => one === name)?.[1] ?? 0;
  made.append(Object.assign(cell("span", `${heard} ×`), { className: "count", title: "clips in which it was heard" }));
  if (visible() && p !== undefined) {
    made.append(Object.assign(cell("span", p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`), { className: "share" }));
    const bar = Object.assign(document.createElement("span"), { className: "bar" });
    bar.style.width = `${100 * p}%`;
    made.append(bar);
  }
  const marks = { [PRESENT]: "✓ present", [UNSURE]: "? unsure", [ABSENT]: "" };
  made.append(Object.assign(cell("span", marks[state]), { className: "mark" }));
  made.addEventListener("click", (event) => {
    touched = true;
    toggle(name);
    if (!event.detail) $("classes").children[at]?.firstChild.focus(); // by keyboard: the button is a new one now
  });
  const item = document.createElement("li");
  item.append(made);
  return item;
}

// ---- search

let choices = [], chosen = 0;

function plain(text) {
  return text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[\s_-]+/g, " ").trim();
}

function search() {
  const sought = plain($("sought").value), names = session.classes;
  const rank = (name) => { const at = plain(name); return at.startsWith(sought) ? 0 : at.includes(` ${sought}`) ? 1 : at.includes(sought) ? 2 : 3; };
  choices = names.filter((name) => rank(name) < 3).sort((a, b) => rank(a) - rank(b)).map((name) => ({ name, added: false }));
  if (sought && !names.some((name) => plain(name) === sought)) choices.push({ name: $("sought").value.trim(), added: true });
  chosen = 0;
  drawChoices();
}

function drawChoices() {
  fill($("found"), choices.slice(0, 50), (one, at) => {
    const item = cell("li", one.added ? `add the class “${one.name}”` : one.name);
    item.setAttribute("role", "option");
    item.id = `choice-${at}`;
    item.setAttribute("aria-selected", at === chosen ? "true" : "false");
    if (!one.added) item.append(cell("span", answer.get(one.name) ?? ""));
    item.addEventListener("click", () => choose(at));
    return item;
  });
  $("sought").setAttribute("aria-activedescendant", choices.length ? `choice-${chosen}` : "");
  $("found").children[chosen]?.scrollIntoView({ block: "nearest" });
}

function choose(at) {
  if (!choices[at]) return;
  $("search").close();
  mark(choices[at]);
}

async function mark(one) {
  if (busy) return void early.push({ mark: () => mark(one) });
  if (one.added && !(await act("api/class", { name: one.name }))) return;
  if (answer.get(one.name) !== PRESENT || !one.added) toggle(one.name);
}

$("sought").addEventListener("input", search);
$("sought").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + choices.length) % Math.max(choices.length, 1);
    drawChoices();
  } else if (event.key === "Enter") choose(chosen);
  else return;
  event.preventDefault();
});

// ---- keys

const KEYS = {
  " ": playOrPause,
  ArrowLeft: () => seek(place() - 1),
  ArrowRight: () => seek(place() + 1),
  "+": () => faster(1),
  "=": () => faster(1),
  "-": () => faster(-1),
  m: nextRange,
  Enter: () => take("taken"),
  n: () => take("nothing"),
  s: () => take("skipped"),
  u: unsure,
  Backspace: undo,
  p: () => {
    const names = Object.keys(SHOWN);
    settings.shown = names[(names.indexOf(settings.shown) + 1) % names.length];
    store();
    draw();
  },
  "/": () => { $("sought").value = ""; search(); $("search").showModal(); },
  "?": () => $("keys").showModal(),
};

function press(key) {
  if (!session) return;
  touched = true;
  if (/^[1-9]$/.test(key)) toggle(clip?.view[key - 1]);
  else KEYS[key]?.();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const known = /^[1-9]$/.test(event.key) || event.key in KEYS;
  // Enter and space on a button that has the focus are that button's own.
  const own = event.target.closest?.("button, summary, a, input") && ["Enter", " "].includes(event.key);
  if (!known || own) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) press(event.key);
});

for (const made of document.querySelectorAll("[data-key]")) {
  made.addEventListener("click", () => { press(made.dataset.key); made.blur(); });
}
$("help").addEventListener("click", () => $("keys").showModal());
$("frame").addEventListener("click", (event) => {
  const { left, width } = $("frame").getBoundingClientRect();
  touched = true;
  seek(clip.first + ((event.clientX - left) / width) * (clip.last - clip.first));
  start();
});
$("who").addEventListener("click", askName);
$("name-dialog").addEventListener("close", () => {
  const name = $("own-name").value.trim();
  if (name && name !== who) location.search = new URLSearchParams({ key: KEY, who: name });
  else if (!who) askName();
});
$("finish").addEventListener("click", async () => {
  if (busy) return;
  busy = true;
  pause();
  tell("Writing labels, probe and page …");
  const said = await send("api/finish", { who });
  busy = false;
  early = [];
  if (said) location.href = `known.html?${new URLSearchParams({ key: KEY, who })}`;
});

function askName() {
  $("own-name").value = who;
  $("name-dialog").showModal();
}

(async () => {
  const said = await send(`api/begin`, { who });
  if (said?.ask_name) return askName();
  if (said) show(said);
})();
