// The server: requests, the token, and what changes each second.

// The token is kept for this tab and this session only.
let token = sessionStorage.getItem("token"), account = null, listening = null;

const may = () => account !== null && !account.read_only;
const authority = () => token ? { Authorization: "Bearer " + token } : {};

// An answer of the API. Errors: the server's sentence.
async function call(method, path, body) {
  const headers = { Accept: "application/json", ...authority() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer, text;
  try {
    answer = await fetch("/api/v1/" + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer",
    });
    text = await answer.text();
  } catch {
    throw Object.assign(new Error("the server does not answer"), { silent: true });
  }
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* It is a sentence. */ }
  if (answer.ok) return value;
  const sentence = value && value.error || text.trim() || "the server answers " + answer.status;
  if (answer.status === 401 && account) signedOut(sentence);
  throw new Error(sentence);
}

async function signIn(given) {
  token = given;
  try {
    account = await call("GET", "token");
    sessionStorage.setItem("token", token);
  } catch (e) {
    token = null;
    // A server that does not answer has refused nothing: the next reload asks again.
    if (!e.silent) sessionStorage.removeItem("token");
    throw e;
  } finally {
    showAccount();
    listening?.abort();
  }
}

// `why`: the server did it.
function signedOut(why) {
  [token, account] = [null, null];
  sessionStorage.removeItem("token");
  document.querySelectorAll("dialog[open]").forEach(dialog => dialog.close());
  showAccount();
  put($("notice"), why || "");
  listening?.abort();
}

function showAccount() {
  document.body.classList.toggle("may-change", may());
  put($("sign-in"), account ? "Sign out" : "Sign in…");
  put($("account"), account ? "signed in" + (account.name ? " as " + account.name : "") + (may() ? "" : " (read-only)") : "");
}

const link = (text, lost) => { put($("link"), text); $("link").className = lost ? "lost" : ""; };
const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000));

// Server-sent events, read by hand: an EventSource sends no token.
async function listen(heard) {
  for (;;) {
    listening = new AbortController();
    const { signal } = listening;
    try {
      const answer = await fetch("/api/v1/events", { headers: authority(), signal, cache: "no-store", credentials: "omit" });
      if (answer.ok) {
        link("live", false);
        await readEvents(answer.body.getReader(), heard);
      } else if (answer.status === 401 || answer.status === 403) {
        heard({ all: true, machines: [], gone: [], images: [], sent: 0, received: 0 });
        link("sign in to see images and machines", true);
        await new Promise(done => signal.addEventListener("abort", done));
      } else {
        link((await answer.text()).trim(), true);
        await pause(5);
        continue;
      }
    } catch { /* It is said below. */ }
    if (signal.aborted) continue;
    link("the server does not answer: trying again", true);
    await pause(2);
  }
}

async function readEvents(reader, heard) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter(line => line.startsWith("data:")).map(line => line.slice(5)).join("\n");
      if (data) heard(JSON.parse(data));
    }
  }
}
