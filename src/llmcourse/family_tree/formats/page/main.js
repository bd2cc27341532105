// Puts it together: what a click, a key and a button do.
"use strict";

const said = [document.getElementById("said-0"), document.getElementById("said-1")];
let turn = 0;

function update() {
  updateVisible();
  forgetCounts();
  closeGaps();
  redraw();
}

// Opens or closes one side; the model stays where it is on the screen.
function toggle(node, side) {
  const before = toScreen(shownX[node], shownY[node]);
  closed[side][node] = closed[side][node] ? 0 : 1;
  update();
  const after = toScreen(shownX[node], shownY[node]);
  view.x += before[0] - after[0];
  view.y += before[1] - after[1];
  if (marked.selected >= 0 && !visible[marked.selected]) select(-1);
  if (!visible[marked.current]) marked.current = node;
}

function toggleBoth(node) {
  const sides = [LEFT, RIGHT].filter((side) => further[side][node].length);
  const isOpen = sides.some((side) => !closed[side][node]);
  for (const side of sides) if (Boolean(closed[side][node]) !== isOpen) toggle(node, side);
  say(node);
}

function select(node) {
  marked.selected = node;
  marked.mask = node >= 0 ? lineage(node) : null;
  if (node >= 0) { marked.current = node; showModel(node); } else showFamily();
  redraw();
}

function goTo(node) {
  reveal(node);
  update();
  select(node);
  centre(node);
  say(node);
}

function clicked(x, y) {
  const { node, side } = hit(x, y);
  hideTip();
  if (node >= 0 && side >= 0) { marked.current = node; toggle(node, side); say(node); } else {
    select(node === marked.selected ? -1 : node);
    if (node >= 0) say(node);
  }
  map.focus({ preventScroll: true });
}

// A screen reader speaks when the active descendant is another element, so two take turns.
function say(node) {
  const model = NODES[node];
  turn = 1 - turn;
  const element = said[turn];
  const count = (edges, word) => (edges.length === 1 ? `1 ${word}` : `${edges.length} ${word === "child" ? "children" : `${word}s`}`);
  element.setAttribute("aria-label", [model.title, model.caption, count(parentEdges[node], "parent"), count(childEdges[node], "child")]
    .filter(Boolean).join(", "));
  element.setAttribute("aria-level", String(distance[node] + 1));
  element.setAttribute("aria-selected", String(node === marked.selected));
  const sides = [LEFT, RIGHT].filter((side) => further[side][node].length);
  if (sides.length) element.setAttribute("aria-expanded", String(sides.some((side) => !closed[side][node])));
  else element.removeAttribute("aria-expanded");
  map.setAttribute("aria-activedescendant", element.id);
}

// The visible model that is nearest in a direction: along an edge to the sides, in the same column up and down.
function step(key) {
  const here = marked.current;
  const [x, y] = [shownX[here], shownY[here]];
  let best = -1;
  let least = Infinity;
  const consider = (node, cost) => { if (visible[node] && cost < least) { least = cost; best = node; } };
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const isLeft = key === "ArrowLeft";
    const ends = isLeft ? parentEdges[here].map((index) => EDGES[index].parent) : childEdges[here].map((index) => EDGES[index].child);
    for (const node of ends) if (isLeft ? shownX[node] < x : shownX[node] > x) consider(node, Math.abs(shownY[node] - y));
  } else {
    const sign = key === "ArrowUp" ? -1 : 1;
    for (const node of visibleNodes) {
      const down = (shownY[node] - y) * sign;
      if (down > 1) consider(node, down + 4 * Math.max(0, Math.abs(shownX[node] - x) - 8));
    }
  }
  if (best >= 0) moveTo(best);
}

function moveTo(node) {
  marked.current = node;
  bringIntoView(node);
  say(node);
}

map.addEventListener("keydown", (event) => {
  if (!placedX || event.ctrlKey || event.metaKey || event.altKey) return;
  const { key } = event;
  if (key.startsWith("Arrow")) step(key);
  else if (key === "Enter") { select(marked.current === marked.selected ? -1 : marked.current); say(marked.current); }
  else if (key === " ") toggleBoth(marked.current);
  else if (key === "+" || key === "=") zoomBy(1.3);
  else if (key === "-") zoomBy(1 / 1.3);
  else if (key === "0") fitView();
  else if (key === "Home") moveTo(DATA.roots[0]);
  else if (key === "Escape") select(-1);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select") || event.ctrlKey || event.metaKey) return;
  search.focus();
  event.preventDefault();
});
map.addEventListener("focus", () => { say(marked.current); redraw(); });
map.addEventListener("blur", redraw);

const onClick = (id, act) => document.getElementById(id).addEventListener("click", act);
onClick("zoom-in", () => zoomBy(1.3));
onClick("zoom-out", () => zoomBy(1 / 1.3));
onClick("fit", () => fitView());
onClick("open-all", () => { setAllClosed(false); update(); fitView(); });
onClick("close-all", () => {
  setAllClosed(true);
  update();
  if (!visible[marked.current]) [marked.current] = DATA.roots;
  firstView();
});

const byLicence = document.getElementById("colour-by");
byLicence.value = DATA.colourBy;
byLicence.addEventListener("change", () => { look.colourBy = byLicence.value; showLegend(); redraw(); });

const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");
let chosenDark = null;
function updateTheme() {
  look.isDark = chosenDark ?? systemIsDark.matches;
  document.documentElement.dataset.theme = look.isDark ? "dark" : "light";
  document.getElementById("theme").setAttribute("aria-pressed", String(look.isDark));
  showLegend();
  redraw();
}
onClick("theme", () => { chosenDark = !look.isDark; updateTheme(); });
systemIsDark.addEventListener("change", updateTheme);

new ResizeObserver(redraw).observe(canvas);
window.addEventListener("resize", redraw);

updateTheme();
showFamily();
const status = document.getElementById("status");
status.textContent = `Laying out ${COUNT.toLocaleString("en")} models …`;
startLayout(() => {
  status.hidden = true;
  closeWhatIsFar();
  update();
  firstView();
  document.documentElement.dataset.ready = "true";
}, (reason) => {
  // dagre goes along a chain by calling itself: a browser's stack ends it after some 1,000 generations.
  status.textContent = `The family could not be laid out (${reason}). Draw less of it, with --depth.`;
});

// For scripts, and for the tests: where a model is on the screen, what is shown, and going to one.
window.familyTree = {
  indexOf: (name) => NODES.findIndex((model) => model.title === name),
  placeOf: (node) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = toScreen(shownX[node], shownY[node]);
    return { x: x + box.left, y: y + box.top };
  },
  chipOf: (node, side) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = toScreen(chipX(node, side), shownY[node]);
    return { x: x + box.left, y: y + box.top };
  },
  isVisible: (node) => Boolean(visible[node]),
  shown: () => visibleNodes.map((node) => ({ node, x: shownX[node], y: shownY[node], width: WIDTH, height: HEIGHT })),
  labels: () => paintedLabels,
  open: goTo,
  state: () => ({ ...view, selected: marked.selected, current: marked.current, count: COUNT, visible: visibleNodes.length }),
};
