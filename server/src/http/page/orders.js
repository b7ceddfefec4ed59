// Orders: what machines that run are to do, and how far they are.

const orderRows = new Map();

async function showOrders() {
  const all = await call("GET", "orders");
  $("orders-part").hidden = all.length === 0;
  keyed($("orders"), orderRows, all, o => o.id, createOrder, (row, o) => {
    put(row.who, o.name || o.machine);
    put(row.what, [o.action, o.image].filter(Boolean).join(" to "));
    put(row.at, o.at ? "at " + when(o.at) : "");
    put(row.state, o.state);
    row.state.className = o.stage === "refused" ? "failed" : o.stage === "done" ? "booted" : "";
  });
}

// The next of the calendar, and what keeps an entry from being done.
async function showCalendar() {
  const all = await call("GET", "schedule");
  const next = all.find(e => e.next), wrong = all.filter(e => e.problem);
  const what = e => [e.action || "switch", e.image].filter(Boolean).join(" to ");
  const lines = wrong.map(e => e.name + ": " + e.problem);
  if (next) lines.unshift("Calendar: " + next.name + " at " + when(next.next) + ", " + next.who.join(", ") + ": " + what(next));
  put($("calendar"), lines.join("; "));
  $("calendar").hidden = lines.length === 0;
}

function createOrder(o) {
  const node = make("tr"), head = cell(node, "th"), what = cell(node, "td"), state = cell(cell(node, "td", "wrap"), "span");
  head.scope = "row";
  const who = head.appendChild(document.createTextNode(""));
  const text = cell(what, "span"), at = cell(what, "small");
  const back = button("Take back", "", () => say(() => call("DELETE", "orders/" + encodeURIComponent(o.machine)), "taken back"));
  back.setAttribute("aria-description", o.name || o.machine);
  cell(node, "td", "change").append(back);
  return { node, who, what: text, at, state };
}
