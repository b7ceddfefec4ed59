// The page begins.

for (const [name, event] of [["q", "input"], ["group", "change"], ["phase", "change"], ["sort", "change"]]) {
  $(name).addEventListener(event, () => { view[name] = $(name).value; writeAddress(); });
}
for (const name of ["list", "tiles"]) $(name + "-view").addEventListener("click", () => { view.view = name; writeAddress(); });
choices($("phase"), [["", "all"], ...ORDER.map(p => [p, p])]);
choices($("act-what"), Object.entries(ACTS).map(([value, act]) => [value, act.text]));
$("choose").addEventListener("click", () => {
  const all = shown().map(m => m.id);
  const none = chosen.size > 0;
  chosen.clear();
  if (!none) all.forEach(id => chosen.add(id));
  arrange();
});
$("act-open").addEventListener("click", () => openAct(target()));
$("act-what").addEventListener("change", showFields);
$("act-form").addEventListener("submit", doAct);
$("details-act").addEventListener("click", () => {
  const id = detailed;
  $("details").close();
  openAct(ofMachines([id]));
});
$("details").addEventListener("close", () => { detailed = null; });
$("sign-in").addEventListener("click", signInOrOut);
$("sign-in-form").addEventListener("submit", trySignIn);
$("fetch-form").addEventListener("submit", fetchImage);
$("history").addEventListener("toggle", poll);
document.querySelectorAll("[data-close]").forEach(close => {
  close.addEventListener("click", () => close.closest("dialog").close());
});
window.addEventListener("hashchange", readAddress);

readAddress();
showAccount();
if (token) signIn(token).catch(e => put($("notice"), e.message));
listen(take);
poll();
setInterval(() => { if (!document.hidden) poll(); }, 2500);
