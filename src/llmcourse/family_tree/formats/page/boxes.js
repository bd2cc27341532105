// Draws the models: a box each, with name, licence, state and the chips that open and close its sides.
"use strict";

const fitted = new Map();

function paintNodes(area, colours) {
  const isSmall = view.scale < READABLE;
  for (const node of visibleNodes) {
    const x = shownX[node];
    const y = shownY[node];
    if (x + WIDTH < area.left || x - WIDTH > area.right) continue;
    if (y + HEIGHT < area.top || y - HEIGHT > area.bottom) continue;
    pen.globalAlpha = isFaded(node) ? 0.25 : 1;
    if (isSmall) paintSmallBox(node, x, y); else paintBox(node, x, y, colours);
    paintChips(node, x, y, colours);
  }
  pen.globalAlpha = 1;
  if (visible[marked.current] && document.activeElement === map) paintFocus(marked.current, colours);
}

function paintSmallBox(node, x, y) {
  const colour = colourOf(NODES[node].classes[look.colourBy]);
  pen.fillStyle = colour.line;
  pen.fillRect(x - WIDTH / 2, y - HEIGHT / 2, WIDTH, HEIGHT);
}

function paintBox(node, x, y, colours) {
  const model = NODES[node];
  const colour = colourOf(model.classes[look.colourBy]);
  const isRoot = DATA.roots.includes(node);
  const isMarked = node === marked.hovered || node === marked.selected;
  const outline = () => {
    pen.beginPath();
    pen.roundRect(x - WIDTH / 2, y - HEIGHT / 2, WIDTH, HEIGHT, 9);
  };
  if (model.hidden) {
    // A second sheet below: it stands for many.
    pen.fillStyle = colours.page;
    pen.strokeStyle = colour.line;
    pen.lineWidth = 1.3;
    pen.beginPath();
    pen.roundRect(x - WIDTH / 2 + 5, y - HEIGHT / 2 + 5, WIDTH, HEIGHT, 9);
    pen.fill();
    pen.stroke();
  }
  outline();
  pen.fillStyle = colour.fill;
  pen.fill();
  pen.strokeStyle = colour.line;
  pen.lineWidth = isRoot ? 3.2 : isMarked ? 2.4 : 1.3;
  pen.setLineDash(DASHES[model.dash]);
  pen.stroke();
  pen.setLineDash([]);
  const left = x - WIDTH / 2 + 13;
  const room = WIDTH - 26;
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  const ink = model.isUnread ? colours.muted : colours.ink;
  const lines = [[model.owner, 11, "", colours.muted], [model.name, 13, "600 ", ink], [model.caption, 11, "", colours.muted]]
    .filter(([text]) => text);
  const words = parentEdges[node].length === 1 && isInGrid[parentEdges[node][0]] ? EDGES[parentEdges[node][0]].words : "";
  if (words) {
    pen.font = `11px ${FONT}`;
    pen.fillStyle = colours.muted;
    pen.textAlign = "right";
    pen.fillText(words, left + room, y - (lines.length * 15) / 2 + 11.5);
    pen.textAlign = "left";
  }
  let base = y - (lines.length * 15) / 2 + 11.5;
  for (const [text, size, weight, fill] of lines) {
    pen.font = `${weight}${size}px ${FONT}`;
    pen.fillStyle = fill;
    const taken = words && base < y - 10 ? pen.measureText(words).width + 8 : 0;
    pen.fillText(fit(text, room - taken), left, base);
    base += 15;
  }
}

// A text as wide as there is room for; measured once for each font.
function fit(text, room) {
  const key = `${pen.font} ${Math.round(room)} ${text}`;
  if (!fitted.has(key)) {
    let shown = text;
    if (pen.measureText(text).width > room) {
      let low = 0;
      let high = text.length;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle; else high = middle;
      }
      shown = `${text.slice(0, low)}…`;
    }
    fitted.set(key, shown);
  }
  return fitted.get(key);
}

function chipX(node, side) {
  return shownX[node] + (side === LEFT ? -1 : 1) * (WIDTH / 2 + 1);
}

function paintChips(node, x, y, colours) {
  for (const side of [LEFT, RIGHT]) {
    if (!further[side][node].length) continue;
    const isClosed = closed[side][node];
    if (!isClosed && view.scale < READABLE) continue;
    const at = chipX(node, side);
    const words = isClosed ? `+${hiddenCount(node, side)}` : "–";
    pen.font = `600 11px ${FONT}`;
    const width = Math.max(pen.measureText(words).width + 8, CHIP * 2);
    const start = side === LEFT ? at - width + CHIP : at - CHIP;
    pen.beginPath();
    pen.roundRect(start, y - CHIP, width, CHIP * 2, CHIP);
    pen.fillStyle = isClosed ? colours.ink : colours.page;
    pen.fill();
    pen.strokeStyle = colours.muted;
    pen.lineWidth = 1;
    pen.stroke();
    pen.fillStyle = isClosed ? colours.page : colours.muted;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(words, start + width / 2, y + 0.5);
  }
}

let counted = new Map();

function hiddenCount(node, side) {
  const key = node * 2 + side;
  if (!counted.has(key)) counted.set(key, hiddenBehind(node, side));
  return counted.get(key);
}

function forgetCounts() {
  counted = new Map();
}

function paintFocus(node, colours) {
  pen.beginPath();
  pen.roundRect(shownX[node] - WIDTH / 2 - 5, shownY[node] - HEIGHT / 2 - 5, WIDTH + 10, HEIGHT + 10, 13);
  pen.strokeStyle = colours.focus;
  pen.lineWidth = Math.max(3, 2.5 / view.scale);
  pen.stroke();
}

// The model below a point of the screen, or a chip of its: what is drawn last is found first.
function hit(screenX, screenY) {
  const x = (screenX - view.x) / view.scale;
  const y = (screenY - view.y) / view.scale;
  const slack = Math.max(0, 4 / view.scale);
  for (let at = visibleNodes.length - 1; at >= 0; at -= 1) {
    const node = visibleNodes[at];
    const dy = Math.abs(y - shownY[node]);
    if (dy > HEIGHT / 2 + slack || Math.abs(x - shownX[node]) > WIDTH / 2 + 44) continue;
    for (const side of [LEFT, RIGHT]) {
      if (!further[side][node].length || dy > CHIP + 3) continue;
      const out = (x - chipX(node, side)) * (side === LEFT ? -1 : 1);
      if (out >= -CHIP - 2 && out <= (closed[side][node] ? CHIP + 26 : CHIP + 2)) return { node, side };
    }
    if (Math.abs(x - shownX[node]) <= WIDTH / 2 && dy <= HEIGHT / 2) return { node, side: -1 };
  }
  return { node: -1, side: -1 };
}
