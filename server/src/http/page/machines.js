// Machines: as a list or as tiles by room, sorted and filtered as the address of the page says.

const machines = new Map(), rows = new Map(), rooms = new Map(), chosen = new Set();
const USUAL = { view: "list", group: "", phase: "", sort: "need", q: "" };
let view = { ...USUAL };

// What needs attention comes first.
const ORDER = ["failed", "gone", "loader", "network", "metainfo", "target", "download", "root", "streaming", "booted"];
const rank = m => m.phase === "gone" && m.boot !== null ? ORDER.length : ORDER.indexOf(m.phase);
const named = m => m.name || m.id;
const compare = (a, b) => (a || "\uffff").localeCompare(b || "\uffff", "en", { numeric: true });
const SORTS = {
  need: (a, b) => rank(a) - rank(b), name: () => 0, image: (a, b) => compare(a.image, b.image),
  group: (a, b) => compare(a.group, b.group), done: (a, b) => a.percent - b.percent, down: (a, b) => b.down - a.down,
};
const before = (a, b) => (SORTS[view.sort] || SORTS.need)(a, b) || compare(named(a), named(b));
const percent = m => ["booted", "failed", "loader"].includes(m.phase) ? "" : m.percent + " %";

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(USUAL)) view[name] = said.get(name) ?? USUAL[name];
  for (const name of ["group", "phase", "sort", "q"]) {
    const field = $(name);
    if (field.tagName === "SELECT" && ![...field.options].some(o => o.value === view[name])) field.add(new Option(view[name], view[name]));
    field.value = view[name];
  }
  arrange();
}

function writeAddress() {
  const said = Object.entries(view).filter(([name, value]) => value !== USUAL[name]);
  history.replaceState(null, "", said.length ? "#" + new URLSearchParams(said) : location.pathname);
  arrange();
}

function shown() {
  const wanted = view.q.toLowerCase();
  const text = m => [m.id, m.name, m.address, m.image, m.group, m.relay, m.phase, m.error, m.note].join(" ").toLowerCase();
  const fits = m => (!view.group || m.group === view.group) && (!view.phase || m.phase === view.phase) && text(m).includes(wanted);
  return [...machines.values()].filter(fits).sort(before);
}

function arrange() {
  const all = shown(), tiles = view.view === "tiles";
  const groups = [...new Set([...machines.values()].map(m => m.group).filter(Boolean))].sort(compare);
  if (view.group && !groups.includes(view.group)) groups.push(view.group);
  choices($("group"), [["", "all"], ...groups.map(g => [g, g])]);
  for (const id of chosen) if (!machines.has(id)) chosen.delete(id);
  $("list-view").setAttribute("aria-pressed", !tiles);
  $("tiles-view").setAttribute("aria-pressed", tiles);
  $("list").hidden = tiles || all.length === 0;
  $("tiles").hidden = !tiles || all.length === 0;
  keyed($("machines"), rows, tiles ? [] : all, m => m.id, createRow, updateRow);
  showTiles(tiles ? all : []);
  $("no-machines").hidden = all.length > 0;
  put($("no-machines"), machines.size ? "No machine matches." : "No machine has reported.");
  showChosen(all);
}

function createRow(m) {
  const node = make("tr"), head = cell(node, "th"), choose = make("input", "change");
  head.scope = "row";
  choose.type = "checkbox";
  choose.addEventListener("change", () => {
    chosen[choose.checked ? "add" : "delete"](m.id);
    showChosen(shown());
  });
  const name = button("", "plain", () => openDetails(m.id));
  const address = make("small");
  head.append(choose, name, address);
  const image = cell(node, "td", "more image"), word = cell(node, "td"), done = cell(node, "td");
  const phase = cell(word, "span"), error = cell(word, "small", "error"), bar = cell(done, "progress");
  bar.max = 100;
  const part = done.appendChild(document.createTextNode(""));
  const [down, up, server, peers, boot] =
    ["n down", "n more", "n more", "n more", "n boot"].map(name => cell(node, "td", name));
  return { node, choose, name, address, image, phase, error, bar, part, down, up, server, peers, boot };
}

function updateRow(row, m) {
  put(row.name, named(m));
  row.choose.checked = chosen.has(m.id);
  row.choose.setAttribute("aria-label", "Choose " + named(m));
  put(row.address, [m.name ? m.id : "", m.address, m.group, m.relay && "by relay " + m.relay].filter(Boolean).join(" "));
  put(row.image, m.image || "–");
  put(row.phase, m.phase);
  row.phase.className = m.phase;
  row.bar.value = m.percent;
  row.bar.setAttribute("aria-label", named(m) + " has " + m.percent + " %");
  put(row.part, " " + m.percent + " %");
  put(row.down, rate(m.down));
  put(row.up, rate(m.up));
  put(row.server, m.server ? size(m.server) : "–");
  put(row.peers, m.machines ? size(m.machines) : "–");
  put(row.boot, m.boot === null ? "–" : m.boot + " s");
  put(row.error, m.error || m.note || "");
}

function showTiles(all) {
  const groups = [...new Set(all.map(m => m.group || ""))].sort(compare);
  keyed($("tiles"), rooms, groups, g => g, createRoom, (room, group) => {
    const of = all.filter(m => (m.group || "") === group), are = phase => of.filter(m => m.phase === phase).length;
    put(room.title, group || "In no group");
    put(room.sum, count(of.length, "machine") + ": " + are("booted") + " booted, " + are("failed") + " failed, " + are("gone") + " gone");
    keyed(room.grid, room.tiles, of, m => m.id, createTile, updateTile);
  });
}

function createRoom(group) {
  const node = make("section", "room"), head = cell(node, "p", "bar"), tiles = new Map();
  const title = cell(head, "b"), sum = cell(head, "span", "dim");
  if (group) head.append(button("Act on " + group + "…", "change", () => openAct(ofGroup(group))));
  return { node, title, sum, grid: cell(node, "div", "grid"), tiles };
}

function createTile(m) {
  const node = button("", "tile", () => openDetails(m.id));
  return { node, name: cell(node, "b"), phase: cell(node, "span"), image: cell(node, "small") };
}

function updateTile(tile, m) {
  tile.node.className = "tile " + m.phase;
  put(tile.name, named(m));
  put(tile.phase, m.phase);
  put(tile.image, [m.image || "–", percent(m)].filter(Boolean).join(" · "));
}

// Whom an action is for: a group as a whole, or machines one by one.
function ofGroup(group) {
  const ids = [...machines.values()].filter(m => m.group === group).map(m => m.id);
  return { title: "group " + group, key: "group:" + group, ids };
}

function ofMachines(ids) {
  return { title: ids.length === 1 ? named(machines.get(ids[0]) || { id: ids[0] }) : count(ids.length, "machine"), key: null, ids };
}

function target() {
  if (chosen.size) return ofMachines([...chosen]);
  return view.group && !view.phase && !view.q ? ofGroup(view.group) : null;
}

function showChosen(all) {
  const who = target();
  $("act-open").disabled = !who;
  put($("act-open"), who ? "Act on " + who.title + "…" : "Act: choose machines or a group first");
  put($("choose"), chosen.size ? "Choose none" : "Choose all " + all.length);
}

function sums(message) {
  const all = [...machines.values()];
  const [booted, failed, gone] = ["booted", "failed", "gone"].map(phase => all.filter(m => m.phase === phase).length);
  put($("summary"), count(all.length, "machine") + ": " + booted + " booted, " + (all.length - booted - failed - gone) + " under way, " +
    failed + " failed, " + gone + " gone");
  const server = all.reduce((n, m) => n + m.server, 0), peers = all.reduce((n, m) => n + m.machines, 0);
  put($("sent"), size(message.sent));
  put($("rate"), rate(message.received));
  put($("share"), server + peers ? Math.floor(peers * 100 / (server + peers)) + " %" : "–");
}

function take(message) {
  if (message.all) machines.clear();
  for (const id of message.gone) machines.delete(id);
  for (const m of message.machines) machines.set(m.id, m);
  if (message.images) showImages(message.images);
  arrange();
  sums(message);
}
