// The parts of views: states, times, tables, charts, logs.
import { el } from "./dom.js";

const TONES = {
  finished: "good", SUCCEEDED: "good", Completed: "good",
  failed: "bad", crashed: "bad", FAILED: "bad", TIMED_OUT: "bad", Failed: "bad",
  running: "busy", RUNNING: "busy", POLLING: "busy", InProgress: "busy", launching: "busy", Stopping: "busy",
  queued: "wait", leased: "wait", pending: "wait",
};

/** A state. It is green only for what has succeeded. */
export const state = (word) => el("span", { class: `state ${TONES[word] ?? "over"}` }, word.replaceAll("_", " ").toLowerCase());

export const ago = (moment) => {
  const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
};

/** How long ago something was; the moment itself is its title. */
export const time = (text) => {
  const moment = new Date(text);
  return el("time", { datetime: text, title: moment.toLocaleString() }, ago(moment));
};

export const duration = (started, ended) => {
  const seconds = Math.max(0, Math.round(((ended ? Date.parse(ended) : Date.now()) - Date.parse(started)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
};

/** A duration that counts on while it has no end. */
export const took = (started, ended) => el("span", { class: "took", "data-since": ended ? null : started }, duration(started, ended));

export const size = (bytes) => bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

const encoded = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;
export const runAddress = (run) => encoded(run.entity, run.project, "runs", run.id);
export const projectAddress = (run) => encoded(run.entity, run.project);
export const executionLink = (each) => el("a", { href: encoded("aws", "executions", each.name) }, each.name);
export const jobLink = (each) => el("a", { href: encoded("aws", "training-jobs", each.name) }, each.name);
export const runLink = (run) => el("a", { href: runAddress(run) }, run.name);

/** A button that does something to what `body` names; if it cannot, `why` says why. */
export const button = (label, action, body, { why, sure, danger } = {}) => el("button", {
  type: "button", "data-do": action, "data-body": JSON.stringify(body), "data-sure": sure, disabled: Boolean(why), title: why, class: danger && "danger",
}, label);

/** A section with a heading; empty text where there is nothing. */
export const section = (id, title, count, ...content) => el("section", { id, "data-key": `section ${id}` },
  el("h2", {}, title, count === null ? null : el("span", { class: "count" }, String(count))), ...content);

export const none = (text) => el("p", { class: "none" }, text);

/** A table; on a narrow screen, each row is a card. A row is {key, cells}. */
export const table = (heads, rows) => el("table", {},
  el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
  el("tbody", {}, rows.map(({ key, cells }) => el("tr", { "data-key": key }, cells.map((cell, index) => el("td", { "data-head": heads[index] || null }, cell))))));

const ADDRESS = /^https?:\/\/\S+$/;
/** A text of a run. An address can be followed; it learns nothing of this page. */
export const text = (value) => ADDRESS.test(value) ? el("a", { href: value, rel: "noreferrer noopener", target: "_blank" }, value) : value;

export const pairs = (values) => el("dl", {}, values.map(([name, value]) => el("div", { "data-key": `pair ${name}` },
  el("dt", {}, name), el("dd", {}, value.includes("\n") ? el("pre", {}, value) : text(value)))));

export const fold = (key, title, content) => el("details", { "data-key": `fold ${key}` }, el("summary", {}, title), content);

/** A log: its lines are kept, so that a new line changes no other; it follows the end while one is there. */
export const log = ({ first, lines }) => el("pre", { class: "log", "data-follow": true, tabindex: "0" },
  first ? el("div", { class: "none", "data-key": "first" }, `${first.toLocaleString("en")} earlier lines are not shown`) : null,
  lines.map((line, index) => el("div", { "data-key": `line ${first + index}` }, line || "\u200b")));

const short = (number) => Number.isInteger(number) && Math.abs(number) < 1e6 ? String(number) : String(Number(number.toPrecision(4)));

/** A chart of a metric: {name, points, steps}. */
export const chart = ({ name, points, steps }, { width = 320, height = 120, axes = true } = {}) => {
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y), pad = 4;
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const at = ([x, y]) => [
    pad + (width - 2 * pad) * (right > left ? (x - left) / (right - left) : 0.5),
    height - pad - (height - 2 * pad) * (high > low ? (y - low) / (high - low) : 0.5),
  ].map((number) => number.toFixed(1));
  const [endX, endY] = at(points.at(-1));
  const range = low === high ? short(low) : `${short(low)} to ${short(high)}`;
  return el("figure", { "data-key": `chart ${name}` },
    el("figcaption", {}, el("b", {}, name), el("span", {}, short(ys.at(-1)))),
    el("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${range}, now ${short(ys.at(-1))}` },
      points.length > 1 ? el("polyline", { points: points.map((point) => at(point).join()).join(" ") }) : null,
      el("circle", { cx: endX, cy: endY, r: 3 })),
    axes ? el("p", { class: "axis" }, el("span", {}, `step ${short(left)} to ${short(right)}`), el("span", {}, range)) : null);
};
