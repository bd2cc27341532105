// The family as indices: who is next to whom, what is visible, who comes from whom.
"use strict";

const DATA = JSON.parse(document.getElementById("family").textContent);
const NODES = DATA.nodes;
const EDGES = DATA.edges;
const COUNT = NODES.length;
const LEFT = 0;
const RIGHT = 1;
// Opened at the start: as many generations around the roots as keep the picture below this many models.
const SHOWN_AT_FIRST = 250;

const parentEdges = NODES.map(() => []);
const childEdges = NODES.map(() => []);
EDGES.forEach((edge, index) => {
  parentEdges[edge.child].push(index);
  childEdges[edge.parent].push(index);
});

// Steps from the nearest root.  What is further from the roots belongs to what is nearer, on its left side
// (parents) or its right side (children), and is hidden with that side.
const distance = new Int32Array(COUNT).fill(-1);
const further = [NODES.map(() => []), NODES.map(() => [])];

// Not along an edge that closes a cycle: both its ends are reached without it.
function neighbours(node, visit) {
  for (const index of parentEdges[node]) if (!EDGES[index].cycle) visit(EDGES[index].parent, LEFT);
  for (const index of childEdges[node]) if (!EDGES[index].cycle) visit(EDGES[index].child, RIGHT);
}

function measureDistances() {
  let wave = DATA.roots.slice();
  wave.forEach((node) => { distance[node] = 0; });
  for (let step = 1; wave.length; step += 1) {
    const next = [];
    for (const node of wave) {
      neighbours(node, (other) => {
        if (distance[other] < 0) { distance[other] = step; next.push(other); }
      });
    }
    wave = next;
  }
  for (let node = 0; node < COUNT; node += 1) {
    neighbours(node, (other, side) => {
      if (distance[other] === distance[node] + 1 && !further[side][node].includes(other)) {
        further[side][node].push(other);
      }
    });
  }
}
measureDistances();

const closed = [new Uint8Array(COUNT), new Uint8Array(COUNT)];
const visible = new Uint8Array(COUNT);
let visibleNodes = [];
let visibleEdges = [];

// Visible is what is reached from a root, or from a model that nothing leads to, through sides that are open.
function updateVisible() {
  visible.fill(0);
  const todo = [];
  for (let node = 0; node < COUNT; node += 1) if (distance[node] <= 0) { visible[node] = 1; todo.push(node); }
  while (todo.length) {
    const node = todo.pop();
    for (const side of [LEFT, RIGHT]) {
      if (closed[side][node]) continue;
      for (const other of further[side][node]) if (!visible[other]) { visible[other] = 1; todo.push(other); }
    }
  }
  visibleNodes = [];
  for (let node = 0; node < COUNT; node += 1) if (visible[node]) visibleNodes.push(node);
  visibleEdges = [];
  EDGES.forEach((edge, index) => { if (visible[edge.parent] && visible[edge.child]) visibleEdges.push(index); });
}

function hiddenBehind(node, side) {
  const seen = new Set();
  const todo = further[side][node].filter((other) => !visible[other]);
  while (todo.length) {
    const other = todo.pop();
    if (seen.has(other)) continue;
    seen.add(other);
    for (const way of [LEFT, RIGHT]) for (const next of further[way][other]) if (!visible[next]) todo.push(next);
  }
  return seen.size;
}

function setAllClosed(isClosed) {
  for (const side of [LEFT, RIGHT]) {
    for (let node = 0; node < COUNT; node += 1) {
      closed[side][node] = isClosed && distance[node] > 0 && further[side][node].length ? 1 : 0;
    }
  }
}

function closeWhatIsFar() {
  const perStep = [];
  for (const steps of distance) if (steps >= 0) perStep[steps] = (perStep[steps] || 0) + 1;
  let shown = 0;
  let last = 0;
  perStep.forEach((number, step) => {
    shown += number;
    if (shown <= SHOWN_AT_FIRST) last = step;
  });
  last = Math.max(last, 1);
  for (const side of [LEFT, RIGHT]) {
    for (let node = 0; node < COUNT; node += 1) {
      if (distance[node] >= last && further[side][node].length) closed[side][node] = 1;
    }
  }
}

// Opens what hides a model, step by step towards the roots.
function reveal(node) {
  let here = node;
  while (distance[here] > 0 && !visible[here]) {
    let nearer = -1;
    neighbours(here, (other) => { if (nearer < 0 && distance[other] === distance[here] - 1) nearer = other; });
    for (const side of [LEFT, RIGHT]) if (further[side][nearer].includes(here)) closed[side][nearer] = 0;
    here = nearer;
  }
}

// A model with all it comes from and all that came of it, as a mask; a cycle is gone round once.
function lineage(node) {
  const mask = new Uint8Array(COUNT);
  mask[node] = 1;
  for (const [edges, end] of [[parentEdges, "parent"], [childEdges, "child"]]) {
    const seen = new Uint8Array(COUNT);
    const todo = [node];
    while (todo.length) {
      for (const index of edges[todo.pop()]) {
        const other = EDGES[index][end];
        if (!seen[other] && !EDGES[index].cycle) { seen[other] = 1; mask[other] = 1; todo.push(other); }
      }
    }
  }
  return mask;
}
