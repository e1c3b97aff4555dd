// Asks the server for what the address shows, every second, and shows it; does what buttons say.
import { morph, el } from "./dom.js";
import { ago, duration, none } from "./parts.js";
import { execution, overview, project, run, SECTIONS, trainingJob } from "./views.js";

const $ = (id) => document.getElementById(id);
const path = location.pathname.split("/").filter(Boolean);
const view = path[0] === "aws" ? { executions: execution, "training-jobs": trainingJob }[path[1]] : path.length === 0 ? overview : path[2] === "runs" ? run : project;

// The key follows the # of the address, which browsers do not send. It is stored here for later visits.
function takeKey() {
  const hash = location.hash.slice(1);
  if (!hash || SECTIONS.some(([id]) => id === hash)) return;
  localStorage.setItem("key", hash);
  history.replaceState(null, "", location.pathname);
}
addEventListener("hashchange", takeKey);
takeKey();

class NoKey extends Error {}

async function ask(what, body) {
  const headers = { Authorization: `Basic ${btoa(`api:${localStorage.getItem("key") ?? ""}`)}` };
  const answer = await fetch(`/_local/${what}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (answer.status === 401) throw new NoKey();
  return answer;
}

const whyNot = (error) => error instanceof NoKey ? "This page needs the key." : "The server does not answer.";
const say = (words) => { if ($("said").textContent !== words) $("said").textContent = words; };

// --- show
let shown = null, known = null;

function show(text) {
  if (text === shown) return;
  shown = text;
  known = JSON.parse(text);
  if (known.entity) $("entity").textContent = known.entity;
  $("queue-run").hidden = !known.queues;
  const name = known.name ?? known.project;
  document.title = name ? `${name} - W&B on this machine` : "W&B on this machine";
  put(known.error ? [el("h1", {}, "Nothing is here"), none("What this address names does not exist, or not yet. It appears here when it does.")] : view(known));
}

/** Put nodes into the page; logs that show their end follow it. */
function put(nodes) {
  const followed = (node) => node.scrollHeight - node.scrollTop - node.clientHeight < 8;
  const before = new Map([...document.querySelectorAll("[data-follow]")].map((node) => [node, followed(node)]));
  morph($("main"), el("main", {}, nodes));
  for (const node of document.querySelectorAll("[data-follow]")) if (before.get(node) ?? true) node.scrollTop = node.scrollHeight;
}

function tick() {
  const update = (node, text) => { if (node.firstChild.data !== text) node.firstChild.data = text; };
  for (const node of document.querySelectorAll("main time")) update(node, ago(new Date(node.getAttribute("datetime"))));
  for (const node of document.querySelectorAll("main [data-since]")) update(node, duration(node.dataset.since));
}

async function refresh() {
  try {
    const answer = await ask(`view${location.pathname}`);
    show(await answer.text());
    if ($("said").textContent === "The server does not answer.") say("");
  } catch (error) {
    if (error instanceof NoKey) { shown = null; put([el("h1", {}, "This page needs the key"), none("Open the address that `python -m local up` has printed: it ends in # and the key.")]); }
    else say("The server does not answer.");
  }
  tick();
}

async function refreshAgain() {
  if (!document.hidden) await refresh();
  setTimeout(refreshAgain, 1000);
}

// --- do
const form = document.forms[0];

const doings = {
  "open-form"() {
    const { queue } = form.elements;
    const chosen = queue.value;
    queue.replaceChildren(...known.queues.map((each) => el("option", {}, each.name)));
    if (chosen) queue.value = chosen;
    ofQueue();
    $("form").showModal();
  },
  "close-dialog"(_, button) { button.closest("dialog").close(); },
  async "open-file"({ where, name }) {
    const answer = await ask(`file/${where.map(encodeURIComponent).join("/")}`);
    if (answer.ok) await showFile(name, await answer.blob());
    else say(`${name} does not exist.`);
  },
  async "open-spec"({ id, name }) {
    const answer = await ask(`view/items/${encodeURIComponent(id)}`);
    if (answer.ok) await showFile(`Run spec of ${name}`, new Blob([(await answer.json()).spec], { type: "application/octet-stream" }));
  },
};

/** Show a file; its text, if it is one. */
async function showFile(name, blob) {
  const text = blob.size < 2e6 ? await blob.text() : "";
  $("file-title").textContent = name;
  $("file-text").textContent = text.includes("\u0000") || blob.size >= 2e6 ? `${blob.size.toLocaleString("en")} bytes` : text;
  URL.revokeObjectURL($("file-save").href);
  $("file-save").href = URL.createObjectURL(blob);
  $("file-save").download = name.split("/").at(-1);
  $("file").showModal();
  $("file-text").scrollTop = 0;
}

/** Ask whether a person is sure; resolve to their answer. */
const sure = (question, label) => new Promise((resolve) => {
  const [title, ...rest] = question.split("\n");
  $("sure-title").textContent = title;
  $("sure-text").textContent = rest.join("\n");
  $("sure-yes").textContent = label;
  $("sure-yes").onclick = () => { resolve(true); $("sure").close(); };
  $("sure").onclose = () => resolve(false);
  $("sure").showModal();
});

document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-do]");
  if (!button) return;
  const action = button.dataset.do, body = JSON.parse(button.dataset.body ?? "{}");
  try {
    if (doings[action]) return await doings[action](body, button);
    if (button.dataset.sure && !await sure(button.dataset.sure, button.textContent)) return;
    const answer = await (await ask(action, body)).json();
    say(answer.error ?? (answer.success === false ? "There is nothing to stop yet." : ""));
    if (action === "remove-run" && view === run && !answer.error) location.assign("/");
    await refresh();
  } catch (error) { say(whyNot(error)); }
});

// --- the form
const fault = (field, words) => {
  const id = `fault-${field.name}`;
  document.getElementById(id)?.remove();
  field.toggleAttribute("aria-invalid", false);
  if (!words) return field.removeAttribute("aria-describedby");
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", id);
  field.closest("label").append(el("span", { class: "fault", id }, words));
};

/** Adapt the form to the chosen queue. */
function ofQueue() {
  const queue = known.queues.find((each) => each.name === form.elements.queue.value);
  form.elements.priority.disabled = !queue?.prioritized;
  if (!queue?.prioritized) form.elements.priority.value = "";
  form.querySelector("[data-for=variables]").hidden = !queue?.variables.length;
  form.elements.variables.placeholder = queue?.variables.length ? JSON.stringify(Object.fromEntries(queue.variables.map((name) => [name, "..."]))) : "";
}

form.elements.queue.addEventListener("change", ofQueue);
form.addEventListener("input", ({ target }) => fault(target));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = [...form.elements].filter((field) => field.name);
  const sayHere = (words) => { $("form-said").textContent = words; };
  sayHere("");
  try {
    const answer = await (await ask("enqueue", Object.fromEntries(fields.map((field) => [field.name, field.value])))).json();
    for (const field of fields) fault(field, answer.faults?.[field.name]);
    form.querySelector("[aria-invalid]")?.focus();
    if (answer.faults || answer.error) return sayHere(answer.error ?? "");
    $("form").close();
    say("The run is queued.");
    await refresh();
  } catch (error) { sayHere(whyNot(error)); }
});

refreshAgain();
