// What there is to boot, what is being fetched, and which boots there were.

let images = [], entries = [];
const imageRows = new Map(), fetchRows = new Map(), bootRows = new Map();

function showImages(all) {
  images = all;
  keyed($("images"), imageRows, images, i => i.name, createImage, (row, i) => {
    put(row.note, [i.default ? "default" : "", i.seeding ? "" : "being checked"].filter(Boolean).join(", "));
    put(row.what, i.what);
    put(row.size, size(i.size));
    put(row.machines, String(i.machines));
    put(row.complete, String(i.complete));
    put(row.sent, i.size ? (i.sent / i.size).toFixed(2) + " copies" : "–");
    row.usual.hidden = i.default;
  });
  $("no-images").hidden = images.length > 0;
}

function createImage({ name }) {
  const node = make("tr"), head = cell(node, "th", "", name);
  head.scope = "row";
  const note = cell(head, "small");
  const what = cell(node, "td", "kind");
  const [bytes, users, complete, sent] = ["n", "n", "n more", "n more"].map(kind => cell(node, "td", kind));
  const usual = button("Make default", "change", () => say(() => call("POST", "images/" + encodeURIComponent(name), { default: true }),
    name + " is the default image now"));
  usual.setAttribute("aria-label", "Make " + name + " the default image");
  head.append(usual);
  return { node, note, what, size: bytes, machines: users, complete, sent, usual };
}

// Do something, and say what came of it.
async function say(work, done) {
  try {
    await work();
    put($("notice"), done);
    poll();
  } catch (e) {
    put($("notice"), e.message);
  }
}

async function showEntries() {
  entries = await call("GET", "entries");
  $("entries-part").hidden = entries.length === 0;
  $("entries").replaceChildren(...entries.map(e => {
    const item = make("li", "", e.name);
    cell(item, "small", "", [e.title, e.what, e.hidden ? "in no menu" : ""].filter(Boolean).join(", "));
    return item;
  }));
}

const ALIVE = ["queued", "fetching", "verifying", "importing"];

async function showFetches() {
  const all = (await call("GET", "fetches")).reverse();
  $("fetches-part").classList.toggle("change", all.length === 0);
  $("fetches-table").hidden = all.length === 0;
  keyed($("fetches"), fetchRows, all, f => f.id, createFetch, (row, f) => {
    put(row.name, f.image || f.request.what);
    put(row.state, f.state);
    row.state.className = f.state === "failed" ? "failed" : f.state === "done" ? "booted" : "";
    put(row.why, f.error || f.verified || "");
    put(row.done, f.total ? Math.floor(f.have * 100 / f.total) + " % of " + size(f.total) : size(f.have));
    put(row.rate, ALIVE.includes(f.state) ? rate(f.rate) : "–");
    put(row.end, ALIVE.includes(f.state) ? "Cancel" : "Forget");
  });
}

function createFetch(f) {
  const node = make("tr"), name = cell(node, "th"), word = cell(node, "td");
  name.scope = "row";
  const state = cell(word, "span"), why = cell(word, "small", "wrap");
  const done = cell(node, "td", "n"), speed = cell(node, "td", "n more");
  const end = button("", "", () => say(() => call("DELETE", "fetches/" + f.id), end.textContent === "Cancel" ? "fetch cancelled" : "fetch forgotten"));
  end.setAttribute("aria-description", f.request.what);
  cell(node, "td", "change").append(end);
  return { node, name, state, why, done, rate: speed, end };
}

function fetchImage(event) {
  event.preventDefault();
  const [what, name, sum] = ["what", "name", "sum"].map(field => $("fetch-" + field).value.trim());
  if (!what) return;
  say(async () => {
    await call("POST", "fetches", { what, name: name || null, sum: sum || null });
    event.target.reset();
  }, what + " is being fetched");
}

async function showHistory() {
  const boots = await call("GET", "boots");
  keyed($("boots"), bootRows, boots, b => b.machine + b.at, createBoot, (row, b) => updateBoot(row, b, b.name || b.machine, when(b.at)));
  $("no-boots").hidden = boots.length > 0;
}

function createBoot() {
  const node = make("tr"), head = cell(node, "th");
  head.scope = "row";
  const who = head.appendChild(document.createTextNode("")), at = cell(head, "small");
  const image = cell(node, "td"), word = cell(node, "td"), from = cell(node, "td", "n");
  const phase = cell(word, "span"), after = cell(word, "small", "wrap");
  return { node, who, at, image, phase, after, server: cell(from, "small"), peers: cell(from, "small") };
}

function updateBoot(row, b, who, at) {
  put(row.who, who);
  put(row.at, at);
  put(row.image, b.image || "–");
  const phase = b.phase === "seed" ? "booted" : b.phase;
  put(row.phase, phase);
  row.phase.className = phase;
  put(row.after, [b.seconds ? "after " + b.seconds.toFixed(0) + " s" : "", b.error].filter(Boolean).join(": "));
  put(row.server, b.from_server ? "server " + size(b.from_server) : "");
  put(row.peers, b.from_peers ? "machines " + size(b.from_peers) : "");
}

// What the events do not tell.
async function poll() {
  try {
    await showFetches();
    await showEntries();
    await showOrders();
    await showCalendar();
    if ($("history").open) await showHistory();
  } catch { /* The list of machines says why. */ }
}
