// Where each model is drawn: the engine's places, and closing the gaps that hidden models leave.
"use strict";

const WIDTH = 216;
const HEIGHT = 54;
const GAP = 10;
const RANK_GAP = 110;

// The engine's places, and what is drawn of them now.
let placedX = null;
let placedY = null;
let placedBends = null;
const isInGrid = new Uint8Array(EDGES.length);
let bandsX = null;
let bandsY = null;
const shownX = new Float64Array(COUNT);
const shownY = new Float64Array(COUNT);

function startLayout(done, failed) {
  const source = document.getElementById("engine").textContent;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  worker.onerror = (event) => failed(event.message || "the browser starts no worker");
  worker.onmessage = ({ data }) => {
    worker.terminate();
    if (data.error) { failed(data.error); return; }
    placedX = data.x;
    placedY = data.y;
    placedBends = EDGES.map(() => []);
    laidOut.forEach((index, position) => { placedBends[index] = data.bends[position]; isInGrid[index] = data.isInGrid[position]; });
    done();
  };
  // An edge that closes a cycle would turn generations around; it is drawn and not laid out.
  const laidOut = EDGES.map((_, index) => index)
    .filter((index) => !EDGES[index].cycle && EDGES[index].parent !== EDGES[index].child);
  worker.postMessage({ count: COUNT, edges: laidOut.map((index) => [EDGES[index].parent, EDGES[index].child]) });
}

// Hidden models leave bands, level and upright, in which nothing is drawn; these are taken out.  The order from
// top to bottom and from left to right stays the engine's, so nothing can cross or overlap that did not before, and no layout is made again:
// this is what keeps a click on thousands of models fast.
function closeGaps() {
  bandsX = bandsOf(placedX, WIDTH, RANK_GAP);
  bandsY = bandsOf(placedY, HEIGHT, GAP);
  for (const node of visibleNodes) {
    shownX[node] = closedUp(placedX[node], bandsX);
    shownY[node] = closedUp(placedY[node], bandsY);
  }
}

// Stretches with models in them, each with how far it moves towards the first.
function bandsOf(places, size, widestGap) {
  const starts = visibleNodes.map((node) => places[node] - size / 2).sort((a, b) => a - b);
  const bands = { starts: [], shifts: [] };
  let end = -Infinity;
  let shift = 0;
  for (const start of starts) {
    if (start > end) {
      if (end > -Infinity && start - end > widestGap) shift += start - end - widestGap;
      bands.starts.push(start);
      bands.shifts.push(shift);
    }
    end = Math.max(end, start + size);
  }
  return bands;
}

// Where a place of the engine's is after the gaps were closed.
function closedUp(place, { starts, shifts }) {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= place) low = middle; else high = middle;
  }
  const next = low + 1 < starts.length ? starts[low + 1] - shifts[low + 1] : Infinity;
  return Math.min(place - (shifts[low] || 0), next);
}

function bounds(nodes) {
  const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (const node of nodes) {
    box.left = Math.min(box.left, shownX[node] - WIDTH / 2);
    box.right = Math.max(box.right, shownX[node] + WIDTH / 2);
    box.top = Math.min(box.top, shownY[node] - HEIGHT / 2);
    box.bottom = Math.max(box.bottom, shownY[node] + HEIGHT / 2);
  }
  return box;
}
