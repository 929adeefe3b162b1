// The chat page. What users and models write enters the page as text nodes only, never as markup.

import { TEXTS } from "./texts.js";

const element = (id) => document.getElementById(id);
const state = { language: "en", models: [], settings: null, turns: [], running: null, key: "" };
const text = (name) => TEXTS[state.language][name];

// ---- the server

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Send a request; raise Refusal with the server's own reason. The paths are relative, for proxies. */
async function request(path, options = {}) {
  const headers = options.body ? { "Content-Type": "application/json" } : {};
  if (state.key) headers.Authorization = `Bearer ${state.key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, text("unreachable"));
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => null);
  throw new Refusal(response.status, content?.error?.message ?? `HTTP ${response.status}`);
}

/** Yield the events of a stream; raise Refusal if it ends before its last one. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let received = "", isComplete = false;
  for (;;) {
    const { done, value } = await reader.read().catch(disconnected);
    if (done && isComplete) return;
    if (done) disconnected();
    const complete = (received + value).split("\n\n");
    received = complete.pop();
    for (const event of complete) {
      const data = event.match(/^data: ?(.*)$/m)?.[1];
      if (data === undefined) continue; // a comment that keeps the connection open
      isComplete ||= data === "[DONE]";
      if (isComplete) continue;
      const content = JSON.parse(data);
      if (content.error) throw new Refusal(0, content.error.message);
      yield content;
    }
  }
}

function disconnected(error) {
  throw error?.name === "AbortError" ? error : new Refusal(0, text("ended"));
}

/** Read the models and the defaults of the server; ask for its key where it needs one. */
async function refresh() {
  try {
    const [models, settings] = await Promise.all(
      ["v1/models", "chat.json"].map(async (path) => (await request(path)).json()),
    );
    [state.models, state.settings] = [models.data, settings];
  } catch (error) {
    fail(error);
  }
  showModels();
}

const model = () => state.models.find((card) => card.id === element("model").value);
const chats = () => !state.settings?.without_template.includes(element("model").value);

/** Return the path and the body of a request for the next answer to these turns. */
function question(turns) {
  const settings = { model: element("model").value };
  for (const [name, id] of [["temperature", "temperature"], ["max_tokens", "max-tokens"]]) {
    if (element(id).value !== "") settings[name] = Number(element(id).value);
  }
  if (!chats()) return ["v1/completions", { ...settings, prompt: turns.at(-1).text }];
  const messages = turns.map(({ role, text: content, reasoning }) =>
    reasoning ? { role, content, reasoning_content: reasoning } : { role, content },
  );
  const system = element("system").value;
  if (system.trim()) messages.unshift({ role: "system", content: system });
  return ["v1/chat/completions", { ...settings, messages }];
}

// ---- the conversation

function add(parent, tag, className, content = "") {
  const child = parent.appendChild(document.createElement(tag));
  child.className = className;
  child.textContent = content;
  return child;
}

function addUser(content) {
  const box = add(element("turns"), "div", "turn user");
  add(box, "div", "by", text("user")).dataset.text = "user";
  add(box, "p", "text", content);
  state.turns.push({ role: "user", text: content, reasoning: "", box });
}

/** Add an empty answer, whose parts are shown once they have content. */
function addAnswer() {
  const box = add(element("turns"), "div", "turn answer running");
  add(box, "div", "by", element("model").value);
  const folded = add(box, "details", "reasoning");
  folded.hidden = true;
  add(folded, "summary", "", text("reasoning")).dataset.text = "reasoning";
  const reasoning = add(folded, "p", "text").appendChild(document.createTextNode(""));
  const written = add(box, "p", "text").appendChild(document.createTextNode(""));
  return {
    role: "assistant", text: "", reasoning: "", box, folded, nodes: { text: written, reasoning },
    status: add(box, "div", "state"), began: performance.now(), tokens: 0, finish: null,
  };
}

/** Add a chunk of the stream to an answer. */
function take(answer, chunk) {
  if (chunk.usage) answer.tokens = chunk.usage.completion_tokens;
  const choice = chunk.choices[0];
  if (!choice) return;
  const delta = choice.delta ?? { content: choice.text };
  append(answer, "text", delta.content);
  append(answer, "reasoning", delta.reasoning_content);
  answer.folded.hidden = !answer.reasoning;
  answer.finish = choice.finish_reason ?? answer.finish;
  // A server that does not tell the tokens of a chunk sends each token as one.
  const count = choice.token_ids?.length ?? Number(Boolean(delta.content || delta.reasoning_content));
  if (!count) return;
  answer.last = performance.now();
  answer.first ??= { at: answer.last, tokens: count };
  answer.tokens += count;
}

function append(answer, part, content) {
  if (!content) return;
  answer[part] += content;
  answer.nodes[part].appendData(content);
}

/** Show how many tokens an answer has and how fast they came: those after the first, by their time. */
function showSpeed(answer) {
  const parts = [];
  if (answer.tokens) parts.push(text("tokens")(answer.tokens));
  if (answer.first) {
    const seconds = (answer.last - answer.first.at) / 1000;
    const later = answer.tokens - answer.first.tokens;
    if (later > 0 && seconds > 0) parts.push(text("tokensPerSecond")((later / seconds).toFixed(1)));
    parts.push(text("firstAfter")(((answer.first.at - answer.began) / 1000).toFixed(2)));
  }
  if (answer.finish === "length") parts.push(text("cut"));
  if (answer.finish === "stopped") parts.push(text("stopped"));
  answer.status.textContent = parts.join(" · ");
}

/** Generate the next answer; `replaced` is the one that comes back if nothing is generated. */
async function generate(replaced = null) {
  const [path, body] = question(state.turns);
  const stream = { stream: true, stream_options: { include_usage: true }, return_token_ids: true };
  const answer = addAnswer();
  state.running = new AbortController();
  update();
  try {
    const options = { method: "POST", body: JSON.stringify({ ...body, ...stream }) };
    const response = await request(path, { ...options, signal: state.running.signal });
    for await (const chunk of events(response)) {
      followed(() => take(answer, chunk));
      showSpeed(answer);
    }
  } catch (error) {
    answer.finish = "stopped";
    if (error.name !== "AbortError") fail(error);
    if (error.status === 404) refresh(); // an adapter that was unloaded meanwhile
  }
  state.running = null;
  answer.box.classList.remove("running");
  followed(() => settle(answer, replaced));
  update();
}

/** Keep an answer that has content or ended; otherwise restore what was there before the question. */
function settle(answer, replaced) {
  if (!answer.box.isConnected) return; // a new chat began
  if (answer.text || answer.reasoning || answer.finish !== "stopped") {
    state.turns.push(answer);
    showSpeed(answer);
    return;
  }
  answer.box.remove();
  if (replaced) {
    element("turns").append(replaced.box);
    state.turns.push(replaced);
    return;
  }
  const withdrawn = state.turns.pop();
  withdrawn.box.remove();
  const message = element("message");
  message.value = [withdrawn.text, message.value].filter(Boolean).join("\n");
}

/** Change the conversation, and scroll with it unless the user has scrolled away from its end. */
function followed(change) {
  const turns = element("turns");
  const atEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 40;
  change();
  if (atEnd) turns.scrollTop = turns.scrollHeight;
}

// ---- what the user does

function send() {
  const message = element("message");
  if (state.running || !message.value.trim() || !isReady()) return;
  notify("");
  addUser(message.value);
  message.value = "";
  element("turns").scrollTop = element("turns").scrollHeight;
  generate();
}

/** Tell whether there is a model and the numbers are valid; the browser says what is wrong. */
function isReady() {
  if (!model()) {
    refresh();
    return false;
  }
  const wrong = [element("temperature"), element("max-tokens")].find((field) => !field.checkValidity());
  if (wrong) openSettings(true);
  wrong?.reportValidity();
  return !wrong;
}

function answerAgain() {
  const last = state.turns.at(-1);
  if (state.running || last?.role !== "assistant" || !isReady()) return;
  notify("");
  state.turns.pop();
  last.box.remove();
  generate(last);
}

function startNewChat() {
  state.running?.abort();
  for (const box of document.querySelectorAll(".turn")) box.remove();
  state.turns = [];
  notify("");
  element("message").focus();
  refresh();
}

async function useKey() {
  state.key = element("key").value.trim();
  notify("");
  await refresh();
  if (!model()) return;
  openSettings(false);
  element("message").focus();
}

async function copy() {
  const code = element("curl");
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    element("copy").textContent = text("copied");
  } catch {
    document.execCommand("copy"); // a page over plain HTTP has no clipboard; the text is selected
  }
}

function onKey(event) {
  const isComposing = event.isComposing || event.keyCode === 229; // Enter chooses Chinese characters
  if (isComposing) return;
  if (event.key === "Escape") state.running?.abort();
  const sends = event.key === "Enter" && !event.shiftKey && event.target === element("message");
  if (!sends) return;
  event.preventDefault();
  send();
}

// ---- what is shown

function notify(message) {
  element("notice").textContent = message;
  element("notice").hidden = !message;
}

function fail(error) {
  if (!(error instanceof Refusal)) console.error(error);
  if (error.status !== 401) return notify(error.message);
  element("key-field").hidden = false;
  notify(state.key ? text("keyWrong") : text("keyHelp"));
  openSettings(true);
  element("key").focus();
}

function openSettings(isOpen) {
  element("panel").classList.toggle("open", isOpen);
  element("fold").setAttribute("aria-expanded", String(isOpen));
}

function showModels() {
  const chosen = element("model").value;
  const options = state.models.map(({ id }) => {
    const option = document.createElement("option");
    option.value = option.textContent = id;
    return option;
  });
  element("model").replaceChildren(...options);
  if (state.models.some(({ id }) => id === chosen)) element("model").value = chosen;
  update();
}

/** Show everything that depends on the language, the model, the settings and the conversation. */
function update() {
  for (const item of document.querySelectorAll("[data-text]")) item.textContent = text(item.dataset.text);
  const message = element("message");
  message.placeholder = text("message");
  message.setAttribute("aria-label", text("message"));
  const card = model();
  element("title").textContent = document.title = card ? card.id : "swiftbox";
  const length = card?.max_model_len ?? state.settings?.max_model_len;
  const about = length ? [text("contextOf")(length)] : [];
  if (card?.parent) about.unshift(text("adapterOf")(card.parent));
  if (card && !chats()) about.push(text("noTemplate"));
  element("about-model").textContent = about.join(" · ");
  const settings = state.settings;
  element("temperature").placeholder = settings ? (settings.temperature ?? text("unset")) : "";
  const limit = chats() ? null : settings?.completion_tokens;
  element("max-tokens").placeholder = settings ? (limit ?? text("noLimit")) : "";
  element("version").textContent = settings ? `swiftbox ${settings.version}` : "";
  element("url").textContent = new URL("v1", document.baseURI).href;
  element("curl").textContent = card ? curl() : "";
  element("help").hidden = state.turns.length > 0 || state.running !== null;
  element("send").hidden = state.running !== null;
  element("stop").hidden = state.running === null;
  showTurns();
}

function showTurns() {
  for (const button of document.querySelectorAll(".again")) button.remove();
  for (const turn of state.turns) if (turn.role === "assistant") showSpeed(turn);
  const last = state.turns.at(-1);
  if (state.running || last?.role !== "assistant") return;
  add(last.box, "button", "again", text("again")).addEventListener("click", answerAgain);
}

/** Return a shell command that sends the message in the field, or the last one, with the settings. */
function curl() {
  const content = element("message").value || state.turns.findLast(({ role }) => role === "user")?.text;
  const [path, body] = question([{ role: "user", text: content ?? "Hello" }]);
  const parts = [`curl ${quoted(new URL(path, document.baseURI).href)}`];
  if (!element("key-field").hidden) parts.push('-H "Authorization: Bearer $API_KEY"');
  parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

/** Return a word of a POSIX shell. */
function quoted(word) {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function setLanguage(language) {
  state.language = language;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  update();
}

function switchTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = document.documentElement.dataset.theme ?? (isDark ? "dark" : "light");
  document.documentElement.dataset.theme = shown === "dark" ? "light" : "dark";
}

const CLICKS = {
  send,
  stop: () => state.running?.abort(),
  copy,
  fresh: startNewChat,
  fold: () => openSettings(!element("panel").classList.contains("open")),
  theme: switchTheme,
  language: () => setLanguage(state.language === "zh" ? "en" : "zh"),
};
for (const [id, action] of Object.entries(CLICKS)) element(id).addEventListener("click", action);
for (const id of ["model", "system", "temperature", "max-tokens", "message"]) {
  element(id).addEventListener("input", update);
}
element("key").addEventListener("change", useKey);
document.addEventListener("keydown", onKey);
setLanguage(navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
refresh();
