// Zoom and pan: wheel, drag, two fingers, buttons and keys.
"use strict";

const map = document.getElementById("map");
const tip = document.getElementById("tip");
const SMALLEST = 0.004;
const LARGEST = 4;
const FIRST_READABLE = 0.7;
const SMALLEST_AT_FIRST = 0.48;
const pointers = new Map();
let drag = null;

function zoomAt(screenX, screenY, factor) {
  const scale = Math.min(LARGEST, Math.max(SMALLEST, view.scale * factor));
  view.x = screenX - (screenX - view.x) * (scale / view.scale);
  view.y = screenY - (screenY - view.y) * (scale / view.scale);
  view.scale = scale;
  hideTip();
  redraw();
}

function zoomBy(factor) {
  zoomAt(canvas.clientWidth / 2, canvas.clientHeight / 2, factor);
}

function fitView(nodes = visibleNodes) {
  const box = bounds(nodes);
  const margin = 36;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = Math.min(
    (width - 2 * margin) / (box.right - box.left), (height - 2 * margin) / (box.bottom - box.top), 1.25,
  );
  view.scale = Math.max(scale, SMALLEST);
  view.x = width / 2 - ((box.left + box.right) / 2) * view.scale;
  view.y = height / 2 - ((box.top + box.bottom) / 2) * view.scale;
  redraw();
}

// All of it where that can be read; else the first root, at a size at which it can.
function firstView() {
  fitView();
  if (view.scale >= SMALLEST_AT_FIRST) return;
  centre(DATA.roots[0], FIRST_READABLE);
  const box = bounds(visibleNodes);
  const empty = { left: toScreen(box.left, 0)[0] - 60, right: canvas.clientWidth - toScreen(box.right, 0)[0] - 60 };
  view.x += Math.max(0, empty.right) - Math.max(0, empty.left);
}

function centre(node, scale = Math.max(view.scale, FIRST_READABLE)) {
  view.scale = scale;
  view.x = canvas.clientWidth / 2 - shownX[node] * scale;
  view.y = canvas.clientHeight / 2 - shownY[node] * scale;
  redraw();
}

// Moves no more than needed for a model to be seen.
function bringIntoView(node) {
  const [x, y] = toScreen(shownX[node], shownY[node]);
  const [halfX, halfY] = [(WIDTH / 2) * view.scale + 40, (HEIGHT / 2) * view.scale + 30];
  view.x += Math.max(0, halfX - x) - Math.max(0, x + halfX - canvas.clientWidth);
  view.y += Math.max(0, halfY - y) - Math.max(0, y + halfY - canvas.clientHeight);
  redraw();
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : 1;
  const speed = event.ctrlKey ? 0.01 : 0.0016;
  zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY * unit * speed));
}, { passive: false });

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  drag = { x: event.offsetX, y: event.offsetY, moved: 0, several: pointers.size > 1 || (drag && drag.several) };
});

canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) { hover(event.offsetX, event.offsetY); return; }
  pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  const other = [...pointers].find(([id]) => id !== event.pointerId);
  if (other) {
    const [x, y] = other[1];
    const distanceBefore = Math.hypot(before[0] - x, before[1] - y);
    const distanceNow = Math.hypot(event.offsetX - x, event.offsetY - y);
    if (distanceBefore > 0) zoomAt((event.offsetX + x) / 2, (event.offsetY + y) / 2, distanceNow / distanceBefore);
  }
  const share = other ? 0.5 : 1;
  view.x += (event.offsetX - before[0]) * share;
  view.y += (event.offsetY - before[1]) * share;
  drag.moved += Math.hypot(event.offsetX - before[0], event.offsetY - before[1]);
  if (drag.moved > 4) { canvas.style.cursor = "grabbing"; hideTip(); }
  redraw();
});

function released(event) {
  if (!pointers.delete(event.pointerId)) return;
  canvas.style.cursor = "";
  const isClick = drag && drag.moved <= 4 && !drag.several && event.type === "pointerup";
  if (isClick && placedX) clicked(event.offsetX, event.offsetY);
  if (!pointers.size) drag = null;
}
canvas.addEventListener("pointerup", released);
canvas.addEventListener("pointercancel", released);
canvas.addEventListener("pointerleave", () => { marked.hovered = -1; hideTip(); redraw(); });

function hover(x, y) {
  if (!placedX) return;
  const { node, side } = hit(x, y);
  canvas.style.cursor = node >= 0 ? "pointer" : "";
  if (node !== marked.hovered) { marked.hovered = node; redraw(); }
  if (node < 0 || side >= 0) hideTip(); else showTip(node, x, y);
}

function showTip(node, x, y) {
  if (tip.dataset.node !== String(node)) {
    tip.dataset.node = String(node);
    tip.replaceChildren(...factsOf(node));
  }
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = `${Math.max(4, Math.min(x + 16, canvas.clientWidth - width - 8))}px`;
  tip.style.top = `${y + 20 + height > canvas.clientHeight ? Math.max(4, y - height - 12) : y + 20}px`;
}

function hideTip() {
  tip.hidden = true;
  delete tip.dataset.node;
}
