// Signing in, one machine in detail, and what is done to machines.

function signInOrOut() {
  if (account) return signedOut();
  put($("sign-in-why"), "");
  $("token").value = "";
  const secure = window.isSecureContext;
  $("sign-in-form").hidden = !secure;
  $("insecure").hidden = secure;
  $("sign-in-dialog").showModal();
}

async function trySignIn(event) {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) return put($("sign-in-why"), "paste the token that `boottorrent token new` has printed");
  try {
    await signIn(given);
    $("sign-in-dialog").close();
    put($("notice"), "");
    poll();
  } catch (e) {
    put($("sign-in-why"), e.message);
  } finally {
    $("token").value = "";
  }
}

// One machine.

let detailed = null;
const detailRows = new Map();

async function openDetails(id) {
  detailed = id;
  put($("details-title"), named(machines.get(id) || { id }));
  put($("details-why"), "");
  $("facts").replaceChildren();
  put($("log"), "");
  $("details").showModal();
  while (detailed === id && $("details").open) {
    try {
      showDetails(await call("GET", "clients/" + encodeURIComponent(id)));
    } catch (e) {
      put($("details-why"), e.message);
    }
    await pause(2);
  }
}

function showDetails(c) {
  const p = c.progress || {}, version = c.image_version ? "@" + c.image_version : "";
  const facts = [
    ["Phase", (c.gone ? "gone; last: " : "") + (c.phase === "seed" ? "booted" : c.phase)], ["Error", c.error],
    ["Image", c.image && c.image + version], ["Boots next", c.next], ["Group", c.group], ["Relay", c.relay],
    ["Card", c.id], ["Address", c.address || c.remote], ["Name", [c.name, c.hostname].filter(Boolean).join(", ")],
    ["Firmware", [c.platform, c.serial, c.uuid].filter(Boolean).join(", ")], ["Agent", c.version],
    ["Here", p.total ? size(p.have) + " of " + size(p.total) : ""],
    ["From", "server " + size((p.from_server || 0) + (p.from_http || 0)) + ", machines " + size(p.from_peers || 0)],
    ["Heard", Math.round(c.age) + " s ago"],
  ].filter(([, value]) => value);
  const texts = facts.map(([name, value]) => name + "\n" + value).join("\n");
  if ($("facts").dataset.texts !== texts) {
    $("facts").dataset.texts = texts;
    $("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  }
  const boots = (c.boots || []).slice().reverse();
  keyed($("details-boots"), detailRows, boots, b => c.id + b.at, createBoot, (row, b) => updateBoot(row, b, when(b.at), ""));
  $("details-history").hidden = boots.length === 0;
  put($("log"), (c.log || []).join("\n"));
  $("log").hidden = !c.log?.length;
}

// What is done.

let acting = null;
const machinesOf = who => who.key ? [who.key] : who.ids;
// What is asked for, and what is said when it was done.
const ACTS = {
  image: {
    text: "Boot this image from now on", fields: ["image"],
    run: (who, { image }) => change(who, { set: { image } }),
    done: (who, { image }) => who.title + " boots " + image + " from now on" +
      (who.key ? "; machines with an image of their own keep it" : ""),
  },
  once: {
    text: "Boot this image once, the next time", fields: ["image"],
    run: (who, { image }) => change({ ...who, key: null }, { set: { once: image } }),
    done: (who, { image }) => who.title + " boots " + image + " once, the next time",
  },
  clear: {
    text: "Boot what the group or the default says", fields: [],
    run: who => change(who, { unset: who.key ? ["image"] : ["image", "once"] }),
    done: who => who.title + " has no image of its own any more",
  },
  switch: { text: "Switch the running system to this image", fields: ["image", "order"], run: order },
  reboot: { text: "Reboot the running system", fields: ["order"], run: order },
  poweroff: { text: "Shut the running system down", fields: ["order"], run: order },
  on: { text: "Power on (BMC or wake-on-LAN)", fields: [], run: power },
  status: { text: "Power: is it on?", fields: [], run: power },
  off: { text: "Power off at once", fields: [], run: power, warn: "What is not saved on these machines is lost." },
  cycle: { text: "Power off and on again", fields: [], run: power, warn: "What is not saved on these machines is lost." },
};

function change(who, change) {
  if (who.key) return call("PUT", "hosts/" + encodeURIComponent(who.key), change);
  return call("POST", "hosts", { changes: who.ids.map(key => ({ key, change })) });
}

async function power(who, values) {
  const all = await call("POST", "power", { who: machinesOf(who), action: values.act });
  const words = { on: "switched on", off: "switched off", cycle: "switched off and on", status: "it does not say" };
  const said = row => row.error || row.state || (row.by === "wake-on-lan" ? "wake-on-LAN packet sent" : words[values.act]);
  showResults(all.map(row => [row.name || named(machines.get(row.key) || { id: row.key }), said(row), Boolean(row.error)]));
  const failed = all.filter(row => row.error).length;
  return count(all.length, "machine") + ", " + failed + " failed";
}

async function order(who, { act, image, at, users, message }) {
  const all = await call("POST", "orders", {
    who: machinesOf(who), action: act, image: act === "switch" ? image : undefined, at: at ? next(at) : "now", wait_for_users: Boolean(users), message,
  });
  return count(all.length, "order") + " given, for " + when(all[0].at) + ": see Orders";
}

function showResults(all) {
  $("act-rows").replaceChildren(...all.map(([name, text, bad]) => {
    const item = make("li", bad ? "failed" : "");
    item.append(make("b", "", name), ": " + text);
    return item;
  }));
}

async function openAct(who) {
  acting = who;
  put($("act-title"), "Act on " + who.title);
  put($("act-who"), who.key ? count(who.ids.length, "machine") + " of it reported" : who.ids.map(id => named(machines.get(id) || { id })).join(", "));
  put($("act-why"), "");
  showResults([]);
  showFields();
  $("act").showModal();
  await showEntries().catch(e => put($("act-why"), e.message));
  choices($("act-image"), [...images, ...entries].map(i => [i.name, i.name]));
}

function showFields() {
  const act = ACTS[$("act-what").value];
  document.querySelectorAll("#act [data-field]").forEach(field => { field.hidden = !act.fields.includes(field.dataset.field); });
  put($("act-warning"), act.warn || "");
}

async function doAct(event) {
  event.preventDefault();
  const values = Object.fromEntries(new FormData($("act-form"))), act = ACTS[values.act];
  showResults([]);
  put($("act-why"), "working…");
  $("act-do").disabled = true;
  try {
    const said = await act.run(acting, values);
    put($("act-why"), act.done ? act.done(acting, values) : said);
    poll();
  } catch (e) {
    put($("act-why"), e.message);
  } finally {
    $("act-do").disabled = false;
  }
}
