// Runs after dagre in a worker: the layered layout of the whole family, once.
//
// Why dagre and not Graphviz or ELK: it is 48 kB where their builds for a browser are 0.8 and 1.6 MB, the page
// needs nothing on the machine that makes it, and a worker keeps the page alive meanwhile.  Leaves that have
// the same only neighbour are one block to it, a grid: their order is free, and without them little is left
// to do.
"use strict";

const WIDTH = 216;
const HEIGHT = 54;
const GAP = 10;
const COLUMN_GAP = 24;
const RANK_GAP = 110;
// A grid has a column for each time that this many models are in the family four times, nine, sixteen, ...: so
// the whole stays about as high as it is wide.
const MODELS_A_COLUMN = 60;
// dagre's best ranker takes minutes on thousands of blocks.
const BEST_RANKER_UP_TO = 300;

function blocksOf(count, edges) {
  const degree = new Int32Array(count);
  edges.forEach(([parent, child]) => { degree[parent] += 1; degree[child] += 1; });
  const block = new Int32Array(count).fill(-1);
  const blocks = [];
  const groups = new Map();
  edges.forEach(([parent, child]) => {
    for (const [leaf, hub, side] of [[child, parent, "c"], [parent, child, "p"]]) {
      if (degree[leaf] !== 1 || degree[hub] === 1) continue;
      const key = hub + side;
      if (!groups.has(key)) { groups.set(key, blocks.length); blocks.push([]); }
      block[leaf] = groups.get(key);
      blocks[block[leaf]].push(leaf);
    }
  });
  for (let node = 0; node < count; node += 1) {
    if (block[node] < 0) { block[node] = blocks.length; blocks.push([node]); }
  }
  return { block, blocks };
}

function sizeOf(models, mostColumns) {
  const columns = Math.min(mostColumns, Math.ceil(Math.sqrt(models / 2)));
  const rows = Math.ceil(models / columns);
  return {
    columns,
    width: columns * (WIDTH + COLUMN_GAP) - COLUMN_GAP,
    height: rows * (HEIGHT + GAP) - GAP,
  };
}

function place(count, edges) {
  const { block, blocks } = blocksOf(count, edges);
  const mostColumns = Math.max(1, Math.round(Math.sqrt(count / MODELS_A_COLUMN)));
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({
    rankdir: "LR", rankalign: "top", nodesep: GAP, edgesep: 6, ranksep: RANK_GAP,
    ranker: blocks.length <= BEST_RANKER_UP_TO ? "network-simplex" : "tight-tree",
  });
  graph.setDefaultEdgeLabel(() => ({}));
  const sizes = blocks.map((models) => sizeOf(models.length, mostColumns));
  blocks.forEach((_, index) => graph.setNode(String(index), { width: sizes[index].width, height: sizes[index].height }));
  edges.forEach(([parent, child]) => graph.setEdge(String(block[parent]), String(block[child])));
  dagre.layout(graph);
  const x = new Float64Array(count);
  const y = new Float64Array(count);
  blocks.forEach((models, index) => {
    const { x: middleX, y: middleY } = graph.node(String(index));
    const { columns, width, height } = sizes[index];
    models.forEach((node, position) => {
      x[node] = middleX - width / 2 + WIDTH / 2 + (position % columns) * (WIDTH + COLUMN_GAP);
      y[node] = middleY - height / 2 + HEIGHT / 2 + Math.floor(position / columns) * (HEIGHT + GAP);
    });
  });
  const ranks = ranksOf(blocks.map((_, index) => graph.node(String(index))));
  const rankAt = (place) => ranks.findLast((rank) => rank.left <= place + 1) ?? ranks[0];
  // Within a grid an edge goes along the gap above its row, not behind other models.
  const laneOf = (parent, child) => {
    for (const [leaf, isChild] of [[child, true], [parent, false]]) {
      const { columns, width } = sizes[block[leaf]];
      const left = graph.node(String(block[leaf])).x - width / 2;
      const gap = y[leaf] - HEIGHT / 2 - GAP / 2;
      const near = x[leaf] + (isChild ? -1 : 1) * (WIDTH / 2 + COLUMN_GAP - 4);
      if (columns > 1 && isChild && near > left) return [left - 8, gap, near, gap];
      if (columns > 1 && !isChild && near < left + width) return [near, gap, left + width + 8, gap];
    }
    return [];
  };
  const lanes = edges.map(([parent, child]) => laneOf(parent, child));
  const bends = edges.map(([parent, child], index) => {
    if (sizes[block[parent]].columns > 1) return lanes[index];
    // Level until it has passed the grids of its own generation, and of each that it crosses: there dagre
    // keeps a lane free for it, at every second point (the others are its room for labels).
    const way = [rankAt(x[parent] - WIDTH / 2).right, y[parent]];
    const { points } = graph.edge(String(block[parent]), String(block[child]));
    for (let at = 2; at < points.length - 2; at += 2) {
      const { left, right } = rankAt(points[at].x);
      way.push(left, points[at].y, right, points[at].y);
    }
    return [...way, ...lanes[index]];
  });
  return { x, y, bends, isInGrid: lanes.map((lane, index) => lane.length > 0 && sizes[block[edges[index][1]]].columns > 1) };
}

// The generations from left to right: where each begins and where its widest grid ends.
function ranksOf(boxes) {
  const right = new Map();
  for (const { x, width } of boxes) {
    const left = Math.round(x - width / 2);
    right.set(left, Math.max(right.get(left) ?? left, x + width / 2));
  }
  return [...right].map(([left, end]) => ({ left, right: end })).sort((a, b) => a.left - b.left);
}

onmessage = (message) => {
  try {
    postMessage(place(message.data.count, message.data.edges));
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
