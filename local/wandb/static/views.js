// The views: all runs and queues, a project, a run, an execution and a training job on the embedded AWS.
import { el } from "./dom.js";
import {
  button, chart, executionLink, fold, jobLink, log, none, pairs, projectAddress, runLink, section, size, state, table, time, took,
} from "./parts.js";

const isOpen = (run) => ["running", "pending"].includes(run.state);
const stopRun = (run) => button(run.stopping ? "Stopping" : "Stop", "stop-run", { id: run.storage_id },
  { why: run.stopping ? "The run was told to stop." : isOpen(run) ? null : "The run has ended." });
const removeRun = (run) => button("Remove", "remove-run", { id: run.storage_id },
  { danger: true, sure: `Remove the run ${run.name}?\nIts metrics, its log and its files are deleted.${isOpen(run) ? " Its code keeps running: stop it first." : ""}` });

const small = (charts) => charts.length ? el("div", { class: "sparks" }, charts.map((each) => chart(each, { width: 96, height: 28, axes: false }))) : null;

const runs = (all, empty) => all.length ? table(["Run", "State", "Metrics", "Started", "Took", ""], all.map((run) => ({
  key: `run ${run.entity}/${run.project}/${run.id}`,
  cells: [
    [el("strong", {}, runLink(run)), el("small", {}, el("a", { href: projectAddress(run) }, run.project), ` / ${run.id}`)],
    state(run.state), small(run.charts), time(run.created), took(run.created, run.ended),
    el("div", { class: "buttons" }, stopRun(run), removeRun(run)),
  ],
}))) : none(empty);

const LINES = 6; // of a message; the rest is folded
const shownNote = (note, key) => el("div", { class: `note ${note.kind}`, "data-key": key },
  el("p", {}, note.message.split("\n").slice(0, LINES).join("\n")),
  note.message.split("\n").length > LINES ? fold(key, "whole message", el("pre", {}, note.message)) : null,
  el("small", {}, `stage ${note.stage}`, note.files.filter((file) => file.run).map((file) => [" · ", openFile(file)])));
const notes = (item) => item.notes.map((note, index) => shownNote(note, `${item.id} note ${index}`));
/** What the item of a run says now: why it failed, or the newest warning. A finished run needs no words. */
const said = (run) => {
  const note = run.item?.notes.find(({ kind }) => kind === "error") ?? run.item?.notes.at(-1);
  return note && run.state !== "finished" ? shownNote(note, "said") : null;
};

const openFile = (file) => button(file.name, "open-file", { where: [file.entity, file.project, file.run, ...file.path.split("/")], name: file.name });

const stopItem = (item) => {
  if (item.run) return stopRun(item.run);
  if (item.state === "failed") return button("Stop", "stop-item", {}, { why: "The item has failed." });
  return button("Stop", "stop-item", { runQueueItemId: item.id }, { why: item.state === "queued" ? "Nothing runs yet: remove the item." : null });
};
const removeItem = (item, queue) => button("Remove", "remove-item", { queueID: queue.id, runQueueItemId: item.id },
  { danger: true, sure: `Remove ${item.name} from the queue ${queue.name}?\n${item.waiting ? "It will not be launched." : "What was launched for it keeps running: stop it first."}` });

const items = (queue) => queue.items.length ? table(["Item", "State", "Queued", ""], queue.items.map((item) => ({
  key: `item ${item.id}`,
  cells: [
    [el("strong", {}, item.run ? runLink(item.run) : item.name), el("small", {}, [item.project, item.source === item.name ? item.run_id : item.source, item.priority === null ? null : `priority ${item.priority}`].filter(Boolean).join(" · "))],
    [state(item.state), notes(item)],
    time(item.created),
    el("div", { class: "buttons" }, stopItem(item), removeItem(item, queue), button("Spec", "open-spec", { id: item.id, name: item.name })),
  ],
}))) : none("The queue is empty.");

const agents = (all) => all.length ? table(["Launch agent", "State", "Queues", "Last heartbeat", ""], all.map((agent) => ({
  key: `agent ${agent.id}`,
  cells: [
    [el("strong", {}, agent.host), el("small", {}, agent.name)], state(agent.state), agent.queues.join(", "), time(agent.heartbeat),
    el("div", { class: "buttons" }, button(agent.stopped ? "Resume polling" : "Stop polling", "update-agent", { launchAgentId: agent.id, stopPolling: !agent.stopped })),
  ],
}))) : none("No launch agent has registered.");

const changeSweep = (sweep, label, to, more = {}) => button(label, "change-sweep", { id: sweep.id, state: to },
  { why: ["pending", "running", "paused"].includes(sweep.state) ? null : "The sweep has ended.", ...more });

const sweeps = (all) => all.length ? section("sweeps", "Sweeps", all.length, table(["Sweep", "State", "Runs", "Best", "Created", ""], all.map((sweep) => ({
  key: `sweep ${sweep.id}`,
  cells: [
    [el("strong", {}, sweep.name), el("small", {}, el("a", { href: projectAddress(sweep) }, sweep.project), ` / ${sweep.method}`)],
    state(sweep.state),
    fold(`${sweep.id} runs`, sweep.expected === null ? `${sweep.made}` : `${sweep.made} of ${sweep.expected}`,
      el("div", {}, sweep.runs.map((run) => el("p", { "data-key": run.id }, runLink(run), " ", state(run.state))))),
    sweep.best ? [`${sweep.best.metric} ${sweep.best.value}`, el("small", {}, runLink(sweep.best))] : null,
    time(sweep.created),
    el("div", { class: "buttons" },
      sweep.state === "paused" ? changeSweep(sweep, "Resume", "RUNNING") : changeSweep(sweep, "Pause", "PAUSED"),
      changeSweep(sweep, "Stop", "FINISHED"),
      changeSweep(sweep, "Cancel", "CANCELED", { danger: true, sure: `Cancel the sweep ${sweep.name}?\nIts runs are stopped.` })),
  ],
})))) : null;

export const overview = (known) => [
  section("runs", "Runs", known.runs.length, runs(known.runs, "No run yet. Queue one, or call wandb.init() with this server's address.")),
  sweeps(known.sweeps),
  known.queues.map((queue) => section(`queue-${queue.name}`, `Queue ${queue.name}`, queue.items.length, items(queue))),
  section("agents", "Launch agents", known.agents.length, agents(known.agents)),
];

export const project = (known) => [
  el("h1", {}, known.project), section("runs", "Runs", known.runs.length, runs(known.runs, "The project has no run.")), sweeps(known.sweeps),
];

const artifact = (each) => [el("strong", {}, each.name), el("small", {}, [each.type, size(each.size), ...each.aliases].join(" · ")), each.references.map((ref) => el("small", {}, ref))];
const lineage = (run) => el("div", { class: "lineage" },
  el("div", {}, el("h3", {}, "Used"), run.used.length ? run.used.map((each) => el("div", { class: "card", "data-key": `used ${each.name}` }, artifact(each), each.by ? el("small", {}, "made by ", runLink(each.by)) : null)) : none("nothing")),
  el("div", { class: "self" }, el("div", { class: "card" }, el("strong", {}, run.name), state(run.state))),
  el("div", {}, el("h3", {}, "Made"), run.made.length ? run.made.map((each) => el("div", { class: "card", "data-key": `made ${each.name}` }, artifact(each), each.used_by.length ? el("small", {}, "used by ", each.used_by.map((user, index) => [index ? ", " : "", runLink(user)])) : null)) : none("nothing")));

const launched = (run) => {
  const { item, aws } = run;
  if (!item) return none("The run does not come from a queue.");
  return [
    el("dl", {},
      el("div", {}, el("dt", {}, "Queue"), el("dd", {}, item.queue)),
      el("div", {}, el("dt", {}, "Source"), el("dd", {}, item.source)),
      el("div", {}, el("dt", {}, "Queued"), el("dd", {}, time(item.created))),
      el("div", {}, el("dt", {}, "Item"), el("dd", {}, el("code", {}, item.id))),
      aws ? el("div", {}, el("dt", {}, "Execution"), el("dd", {}, aws.executions.map((each) => el("p", {}, executionLink(each), " ", state(each.state))))) : null,
      aws && aws.jobs.length ? el("div", {}, el("dt", {}, "Training job"), el("dd", {}, aws.jobs.map((each) => el("p", {}, jobLink(each), " ", state(each.state))))) : null),
    notes(item), fold("spec", "Run spec", el("pre", {}, item.spec)),
  ];
};

/** The sections of a run's page: their ids and titles. */
export const SECTIONS = [["charts", "Charts"], ["log", "Log"], ["summary", "Summary"], ["config", "Config"], ["files", "Files"], ["lineage", "Lineage"], ["launch", "Launch"]];

export const run = (known) => [
  el("div", { class: "title" },
    el("p", { class: "path" }, el("a", { href: projectAddress(known) }, known.project), " / runs"),
    el("h1", {}, known.name, " ", state(known.state)),
    el("p", { class: "none" }, "started ", time(known.created), ", took ", took(known.created, known.ended)),
    el("div", { class: "buttons" }, stopRun(known), removeRun(known)),
    said(known)),
  el("nav", {}, SECTIONS.map(([id, name]) => el("a", { href: `#${id}` }, name))),
  section("charts", "Charts", null, known.charts.length ? el("div", { class: "charts" }, known.charts.map((each) => chart(each))) : none("The run has logged no numbers.")),
  section("log", "Log", null, known.log.lines.length ? log(known.log) : none("The run has printed nothing.")),
  el("div", { class: "columns" },
    section("summary", "Summary", null, known.summary.length ? pairs(known.summary) : none("empty")),
    section("config", "Config", null, known.config.length ? pairs(known.config) : none("empty"))),
  section("files", "Files", known.files.length, known.files.length ? table(["File", "Size", "Changed"], known.files.map((file) => ({
    key: `file ${file.name}`,
    cells: [openFile({ name: file.name, entity: known.entity, project: known.project, run: known.id, path: file.name }), size(file.size), time(file.updated)],
  }))) : none("none")),
  section("lineage", "Lineage", null, lineage(known)),
  el("div", { class: "columns" },
    section("launch", "Launch", null, launched(known)),
    section("about", "About", null, pairs(known.facts))),
];

const steps = (all) => el("ol", { class: "steps" }, all.map((step, index) => el("li", { "data-key": `step ${index}`, class: step.ended ? null : "now" },
  el("strong", {}, step.name), el("small", {}, time(step.started)), took(step.started, step.ended))));

const ofAws = (kind, known, ...more) => [
  el("div", { class: "title" },
    el("p", { class: "path" }, known.run ? [runLink(known.run), " / "] : null, `${kind.toLowerCase()} on the embedded AWS`),
    el("h1", {}, known.run ? `${kind} of ${known.run.name}` : kind, " ", state(known.state)),
    el("p", { class: "none" }, known.name, ", started ", time(known.started), ", took ", took(known.started, known.ended))),
  section("steps", "Steps", null, steps(known.steps)), ...more,
];

export const execution = (known) => ofAws("Execution", known,
  section("jobs", "Training jobs", known.jobs.length, known.jobs.length ? known.jobs.map((each) => el("p", {}, jobLink(each), " ", state(each.state))) : none("none")),
  known.texts.map(([title, content]) => section(title, title, null, el("pre", {}, content))),
  section("command", "In a terminal", null, el("pre", {}, `aws stepfunctions describe-execution --execution-arn ${known.arn}`)));

export const trainingJob = (known) => ofAws("Training job", known,
  section("log", "Log", null, known.log.lines.length ? log(known.log) : none("Its containers have printed nothing.")),
  section("about", "About", null, pairs(known.facts)),
  section("command", "In a terminal", null, el("pre", {}, `aws sagemaker describe-training-job --training-job-name ${known.name}`)));

