// What is told in words: the facts of a model, the whole family, legend and search.
// Everything that comes from cards is put in as text, never as markup.
"use strict";

const panel = document.getElementById("facts");
const search = document.getElementById("search");
const found = document.getElementById("found");
const MOST_FOUND = 40;
const MOST_LISTED = 200;

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function factsOf(node) {
  const model = NODES[node];
  const list = element("dl");
  for (const [name, value] of model.details) list.append(element("dt", name), element("dd", value));
  const edges = parentEdges[node].slice(0, 6).map((index) => `${EDGES[index].words} · ${NODES[EDGES[index].parent].title}`);
  if (parentEdges[node].length > 6) edges.push(`and ${parentEdges[node].length - 6} more`);
  if (edges.length) list.append(element("dt", "from"), element("dd", edges.join("\n")));
  return [element("strong", model.title), list];
}

function showModel(node) {
  const model = NODES[node];
  const heading = element("h2", model.url ? "" : model.title);
  if (model.url) {
    heading.append(element("a", model.title, { href: model.url, target: "_blank", rel: "noopener noreferrer" }));
  }
  const list = element("dl");
  for (const [name, value] of model.details) list.append(element("dt", name), element("dd", value));
  const back = element("button", "whole family", { type: "button", class: "quiet" });
  back.addEventListener("click", () => { select(-1); map.focus(); });
  panel.replaceChildren(back, heading, list,
    ...relatives("Made from", parentEdges[node], "parent"), ...relatives("What came of it", childEdges[node], "child"));
  panel.scrollTop = 0;
}

function relatives(title, edges, end) {
  if (!edges.length) return [];
  const list = element("ul");
  for (const index of edges.slice(0, MOST_LISTED)) {
    const edge = EDGES[index];
    const button = element("button", NODES[edge[end]].title, { type: "button", class: "link" });
    button.addEventListener("click", () => goTo(edge[end]));
    const item = element("li");
    item.append(button, element("small", edge.details));
    list.append(item);
  }
  if (edges.length > MOST_LISTED) list.append(element("li", `and ${edges.length - MOST_LISTED} more`));
  return [element("h3", `${title} (${edges.length.toLocaleString("en")})`), list];
}

function showFamily() {
  const list = element("dl");
  for (const [name, value] of DATA.summary) list.append(element("dt", name), element("dd", value));
  const parts = [element("h2", "The family"), list];
  if (DATA.findings.length) {
    const findings = element("ul", "", { class: "findings" });
    for (const [node, sentence] of DATA.findings.slice(0, MOST_LISTED)) {
      const item = element("li");
      if (node >= 0) {
        const button = element("button", sentence, { type: "button", class: "link" });
        button.addEventListener("click", () => goTo(node));
        item.append(button);
      } else item.textContent = sentence;
      findings.append(item);
    }
    parts.push(element("h3", `Worth knowing (${DATA.findings.length})`), findings);
  }
  parts.push(element("h3", "Keys"), keyList());
  panel.replaceChildren(...parts);
}

function keyList() {
  const list = element("dl", "", { class: "keys" });
  for (const [key, what] of [["← → ↑ ↓", "go from model to model"], ["Enter", "facts and lineage"],
    ["Space", "close or open what is behind"], ["+ − 0", "zoom, fit"], ["/", "search"], ["Home", "back to the root"],
    ["Esc", "let go"]]) {
    const name = element("dt");
    name.append(element("kbd", key));
    list.append(name, element("dd", what));
  }
  return list;
}

function showLegend() {
  const counts = {};
  for (const model of NODES) {
    const name = model.classes[look.colourBy];
    counts[name] = (counts[name] || 0) + 1;
  }
  const onEdges = look.colourBy === "relation" ? new Set(EDGES.map((edge) => edge.relation)) : new Set();
  const items = [];
  for (const [name, colour] of Object.entries(DATA.legends[look.colourBy])) {
    if (!counts[name] && !onEdges.has(name)) continue;
    const shown = colourOf(name);
    const patch = element("span", "", { class: "patch" });
    patch.style.background = shown.fill;
    patch.style.borderColor = shown.line;
    const item = element("li");
    item.append(patch, `${colour.word} (${(counts[name] || 0).toLocaleString("en")})`);
    items.push(item);
  }
  for (const [dash, words] of [["dashed", "gated, or not readable"], ["dotted", "not followed"]]) {
    if (!NODES.some((model) => model.dash === dash)) continue;
    const item = element("li");
    item.append(element("span", "", { class: `patch ${dash}` }), words);
    items.push(item);
  }
  document.getElementById("legend").replaceChildren(...items);
}

// What a search looks through, made when there is one.
const searchable = [];

function wordsOf(model) {
  return [model.title, ...model.details.map(([, value]) => value)].join(" ").toLowerCase();
}

function searched() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = [];
  if (words.length) {
    for (; searchable.length < COUNT;) searchable.push(wordsOf(NODES[searchable.length]));
    for (let node = 0; node < COUNT; node += 1) {
      if (words.every((word) => searchable[node].includes(word))) hits.push(node);
    }
  }
  found.replaceChildren(...hits.slice(0, MOST_FOUND).map((node, index) => {
    const item = element("li", NODES[node].title, { role: "option", id: `found-${index}`, "aria-selected": "false" });
    if (NODES[node].caption) item.append(element("small", NODES[node].caption));
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); choose(node); });
    item.dataset.node = String(node);
    return item;
  }));
  if (hits.length > MOST_FOUND) {
    found.append(element("li", `and ${(hits.length - MOST_FOUND).toLocaleString("en")} more`, { "aria-disabled": "true" }));
  }
  if (words.length && !hits.length) found.append(element("li", "no model of that name", { "aria-disabled": "true" }));
  found.hidden = !words.length;
  search.setAttribute("aria-expanded", String(!found.hidden));
  pickFound(hits.length ? 0 : -1);
}

let picked = -1;

function pickFound(index) {
  const options = [...found.querySelectorAll("[role=option]")];
  picked = options.length ? Math.max(-1, Math.min(index, options.length - 1)) : -1;
  options.forEach((option, at) => option.setAttribute("aria-selected", String(at === picked)));
  if (picked >= 0) {
    search.setAttribute("aria-activedescendant", options[picked].id);
    options[picked].scrollIntoView({ block: "nearest" });
  } else search.removeAttribute("aria-activedescendant");
}

function choose(node) {
  found.hidden = true;
  search.value = "";
  search.setAttribute("aria-expanded", "false");
  goTo(node);
  map.focus();
}

search.addEventListener("input", searched);
search.addEventListener("blur", () => { found.hidden = true; search.setAttribute("aria-expanded", "false"); });
search.addEventListener("focus", () => { if (search.value) searched(); });
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") pickFound(picked + 1);
  else if (event.key === "ArrowUp") pickFound(Math.max(picked - 1, 0));
  else if (event.key === "Enter" && picked >= 0) choose(Number(found.querySelectorAll("[role=option]")[picked].dataset.node));
  else if (event.key === "Escape") { search.value = ""; searched(); map.focus(); } else return;
  event.preventDefault();
});
