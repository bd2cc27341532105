// Draws what is visible onto the canvas: details where one can read them, outlines where one cannot.
"use strict";

const canvas = document.getElementById("picture");
const pen = canvas.getContext("2d");
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";
const READABLE = 0.34;
const LABELS_FROM = 0.5;
const MOST_LABELS = 300;
const CHIP = 9;
const DASHES = { solid: [], dashed: [6, 4], dotted: [2, 3] };

const view = { x: 0, y: 0, scale: 1 };
const look = { colourBy: DATA.colourBy, isDark: false };
const marked = { hovered: -1, selected: -1, current: DATA.roots[0], mask: null };
let isDue = false;

function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; paint(); });
}

function toScreen(x, y) {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

function colourOf(name) {
  const colour = DATA.legends[look.colourBy][name];
  return look.isDark ? { line: colour.darkLine, fill: colour.darkFill } : colour;
}

function pageColours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { page: value("--page"), ink: value("--ink"), muted: value("--muted"), focus: value("--focus") };
}

function paint() {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!placedX) return;
  pen.translate(view.x, view.y);
  pen.scale(view.scale, view.scale);
  const window_ = {
    left: -view.x / view.scale, top: -view.y / view.scale,
    right: (width - view.x) / view.scale, bottom: (height - view.y) / view.scale,
  };
  const colours = pageColours();
  paintEdges(window_, colours);
  paintNodes(window_, colours);
}

function isFaded(node) {
  return marked.mask !== null && !marked.mask[node];
}

function edgePath(path, index, isSmall) {
  const edge = EDGES[index];
  let x = shownX[edge.parent] + WIDTH / 2;
  let y = shownY[edge.parent];
  const points = [...placedBends[index]];
  points.push(shownX[edge.child] - WIDTH / 2, shownY[edge.child]);
  path.moveTo(x, y);
  if (edge.cycle) {
    // Below everything between its ends, so that it is not taken for another edge.
    const drop = Math.max(y, shownY[edge.child]) + HEIGHT;
    path.bezierCurveTo(x + 70, drop, points.at(-2) - 70, drop, points.at(-2), points.at(-1));
    return;
  }
  for (let at = 0; at < points.length; at += 2) {
    const isLast = at + 2 === points.length;
    const toX = isLast ? points[at] : closedUp(points[at], bandsX);
    const toY = isLast ? points[at + 1] : closedUp(points[at + 1], bandsY);
    if (!isLast && toX - x < 2) continue; // its own generation has no grid to pass
    if (isSmall) { path.lineTo(toX, toY); continue; } // one cannot see the curve, and it costs
    const reach = toX > x ? (toX - x) / 2 : RANK_GAP / 2;
    path.bezierCurveTo(x + reach, y, toX - reach, toY, toX, toY);
    x = toX;
    y = toY;
  }
}

function paintEdges(area, colours) {
  const isSmall = view.scale < READABLE;
  // Those of one colour are one path: thousands of strokes cost more than what they draw.
  const groups = new Map();
  const labelled = [];
  for (const index of visibleEdges) {
    const edge = EDGES[index];
    const fromY = shownY[edge.parent];
    const toY = shownY[edge.child];
    const fromX = shownX[edge.parent];
    const toX = shownX[edge.child];
    if (Math.max(fromX, toX) < area.left || Math.min(fromX, toX) > area.right) continue;
    if (Math.max(fromY, toY) + 2 * HEIGHT < area.top || Math.min(fromY, toY) - HEIGHT > area.bottom) continue;
    const isOff = isFaded(edge.parent) || isFaded(edge.child);
    if (isOff && isSmall) continue;
    const colour = look.colourBy === "relation" ? colourOf(edge.relation).line : colours.muted;
    const key = `${colour} ${edge.cycle} ${isOff}`;
    if (!groups.has(key)) groups.set(key, { colour, isCycle: edge.cycle, isOff, path: new Path2D(), ends: [] });
    const group = groups.get(key);
    edgePath(group.path, index, isSmall);
    group.ends.push(index);
    if (!isOff && !isInGrid[index]) labelled.push([index, colour]);
  }
  for (const group of groups.values()) {
    pen.globalAlpha = group.isOff ? 0.12 : isSmall && !marked.mask ? 0.4 : 0.85;
    pen.strokeStyle = group.colour;
    pen.fillStyle = group.colour;
    pen.lineWidth = Math.max(marked.mask && !group.isOff ? 2.2 : 1.3, 0.7 / view.scale);
    pen.setLineDash(group.isCycle ? [7, 5] : []);
    pen.stroke(group.path);
    pen.setLineDash([]);
    if (!isSmall) group.ends.forEach(paintArrow);
  }
  pen.globalAlpha = 1;
  if (view.scale >= LABELS_FROM && labelled.length <= MOST_LABELS) paintLabels(labelled, colours);
}

function paintArrow(index) {
  const x = shownX[EDGES[index].child] - WIDTH / 2;
  const y = shownY[EDGES[index].child];
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x - 8, y - 4);
  pen.lineTo(x - 8, y + 4);
  pen.fill();
}

const LABEL_HEIGHT = 13;
let paintedLabels = []; // of the last picture, for those who ask

// Beside the child (within a grid it is in the child's own box): there an edge has parted from its siblings.
function paintLabels(labelled, colours) {
  pen.font = `11px ${FONT}`;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const placed = [];
  paintedLabels = placed;
  for (const [index, colour] of labelled) {
    const edge = EDGES[index];
    const several = parentEdges[edge.child].filter((other) => visible[EDGES[other].parent]);
    const order = several.sort((a, b) => shownY[EDGES[a].parent] - shownY[EDGES[b].parent]).indexOf(index);
    const x = shownX[edge.child] - WIDTH / 2 - (further[LEFT][edge.child].length ? 16 : 12);
    const y = shownY[edge.child] + (order - (several.length - 1) / 2) * 13 + (several.length === 1 ? -7 : 0);
    const words = cutTo(edge.words, x - (shownX[edge.parent] + WIDTH / 2) - 8);
    const place = freePlace(placed, x - pen.measureText(words).width, x, y);
    if (place === null) continue; // the panel beside the picture has it
    pen.lineWidth = 3;
    pen.strokeStyle = colours.page;
    pen.strokeText(words, x, place);
    pen.fillStyle = colour;
    pen.fillText(words, x, place);
  }
}

// Words cut to a width with an ellipsis; where their parent stands behind them they have all the room there is.
function cutTo(words, room) {
  if (room <= 0 || pen.measureText(words).width <= room) return words;
  let length = words.length - 1;
  while (length > 1 && pen.measureText(`${words.slice(0, length)}…`).width > room) length -= 1;
  return `${words.slice(0, length)}…`;
}

// The height nearest to y at which a label from left to right covers no other, or null; it is then taken.
function freePlace(placed, left, right, y) {
  for (const step of [0, 1, -1, 2, -2]) {
    const at = y + step * LABEL_HEIGHT;
    if (placed.every((other) => other.right < left || other.left > right || Math.abs(other.y - at) >= LABEL_HEIGHT)) {
      placed.push({ left, right, y: at });
      return at;
    }
  }
  return null;
}
