"use strict";
// Everything that comes from machines and from the server is put in place as text, never as markup.
const $ = id => document.getElementById(id);
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const count = (n, word) => n + " " + word + (n === 1 ? "" : "s");

const size = bytes => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let n = bytes, u = 0;
  while (n >= 1024 && u < units.length - 1) { n /= 1024; u += 1; }
  return (u === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(n >= 10 ? 1 : 2)) + " " + units[u];
};
const rate = bytes => {
  if (bytes === 0) return "–";
  return bytes < 1e6 ? (bytes / 1e3).toFixed(0) + " kB/s" : (bytes / 1e6).toFixed(1) + " MB/s";
};
// RFC 3339 as the reader's own time.
const when = text => {
  const at = new Date(text);
  return isNaN(at) ? text : at.toLocaleString("sv-SE").slice(0, 16);
};

// The next time that it is, as in 09:55, here: the server may be in another time zone. RFC 3339.
const next = text => {
  const [hours, minutes] = text.split(":").map(Number), at = new Date();
  at.setHours(hours, minutes, 0, 0);
  if (at < new Date()) at.setDate(at.getDate() + 1);
  return at.toISOString().replace(/\.\d+/, "");
};

function make(kind, name, text) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function cell(row, kind, name, text) {
  const node = make(kind, name, text);
  row.append(node);
  return node;
}

function button(text, name, act) {
  const node = make("button", name, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

// Bring the children of `body` in line with `items`. Nodes that stay are not made anew, and the focus stays where it is.
function keyed(body, rows, items, key, create, update) {
  const focused = document.activeElement, seen = new Set();
  items.forEach((item, i) => {
    const id = key(item);
    seen.add(id);
    let row = rows.get(id);
    if (!row) rows.set(id, row = create(item));
    update(row, item);
    if (body.children[i] !== row.node) body.insertBefore(row.node, body.children[i] || null);
  });
  for (const [id, row] of rows) {
    if (!seen.has(id)) { row.node.remove(); rows.delete(id); }
  }
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// The choices of a <select>, which keeps what is chosen.
function choices(select, pairs) {
  const same = pairs.length === select.options.length
    && pairs.every(([value, text], i) => select.options[i].value === value && select.options[i].text === text);
  if (same) return;
  const chosen = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}
