// A doctor's look at ECGs: a SMART App Launch at the gateway's card service, whose
// dpop.js proves each request; then the list and the drawings from the gateway's
// record service. The token is kept in this page alone, and asked for anew every few
// seconds: once the card is out there is none, and nothing stays on the screen.
(() => {
  "use strict";
  const words = document.body.dataset, records = words.records, service = new URL(records).origin;
  const get = (id) => document.getElementById(id);
  const said = get("said"), button = get("login"), list = get("list"), sheet = get("sheet");
  const here = location.origin + location.pathname;
  const every = 5000; // ms
  let token = "", refresh = "", shown = "", timer = 0;

  const b64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const random = () => b64(crypto.getRandomValues(new Uint8Array(32)));
  const endpoints = async () => {
    const r = await fetch(records + "/.well-known/smart-configuration");
    if (!r.ok) throw new Error("smart-configuration " + r.status);
    return r.json();
  };

  const wipe = (why) => {
    token = refresh = shown = "";
    clearTimeout(timer);
    list.replaceChildren();
    const img = sheet.querySelector("img");
    if (img) URL.revokeObjectURL(img.src);
    sheet.replaceChildren();
    sheet.hidden = true;
    said.textContent = why;
    button.hidden = false;
  };

  const login = async () => {
    const to = await endpoints(), verifier = random(), state = random();
    sessionStorage.setItem("ecg", JSON.stringify({ verifier, state }));
    location.assign(to.authorization_endpoint + "?" + new URLSearchParams({
      response_type: "code", client_id: "panel", redirect_uri: here, scope: "user/*.rs online_access", state, aud: records,
      code_challenge: b64(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))), code_challenge_method: "S256",
    }));
  };
  const take = async (form) => {
    const r = await fetch((await endpoints()).token_endpoint, { method: "POST", body: new URLSearchParams({ client_id: "panel", ...form }) });
    if (!r.ok) throw new Error("token " + r.status);
    ({ access_token: token, refresh_token: refresh = "" } = await r.json());
    timer = setTimeout(renew, every);
  };
  const renew = () => (refresh ? take({ grant_type: "refresh_token", refresh_token: refresh }) : Promise.reject(new Error("no refresh")))
    .catch(() => wipe(words.over));

  const ask = async (path) => {
    const r = await fetch(service + path, { headers: { Authorization: "Bearer " + token } });
    if (r.status === 401) { wipe(words.over); throw new Error("over"); }
    return r;
  };
  const draw = async (one, label, chosen) => {
    shown = one.id;
    list.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));
    const r = await ask("/ecg/" + one.id);
    const body = r.ok ? await r.blob() : null;
    if (shown !== one.id) return; // another was chosen, or the card is out
    said.textContent = r.status === 422 ? words.undrawn : r.ok ? "" : words.failed;
    sheet.replaceChildren();
    sheet.hidden = !r.ok;
    if (!r.ok) return;
    const img = new Image();
    img.alt = words.drawing + " " + label;
    img.src = URL.createObjectURL(body); // an image runs no script, whatever is in it
    sheet.append(img);
  };
  const fill = async () => {
    const r = await ask("/ecg");
    if (!r.ok) throw new Error("list " + r.status);
    const { items } = await r.json();
    said.textContent = items.length ? "" : words.none;
    const clock = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "short", timeStyle: "short" });
    list.replaceChildren(...items.map((one) => {
      const label = [clock.format(new Date(one.accepted)), (one.name || "").replaceAll("^", " "), one.birth, one.number, one.origin].filter(Boolean).join(" · ");
      const li = document.createElement("li"), b = document.createElement("button");
      b.type = "button";
      b.textContent = label;
      b.setAttribute("aria-pressed", "false");
      b.onclick = () => draw(one, label, b).catch(() => { if (token) said.textContent = words.failed; });
      li.append(b);
      return li;
    }));
  };

  button.onclick = () => login().catch(() => { said.textContent = words.failed; });
  window.addEventListener("pagehide", () => wipe(""));
  const answer = new URLSearchParams(location.search);
  const kept = JSON.parse(sessionStorage.getItem("ecg") || "null");
  sessionStorage.removeItem("ecg");
  if (!answer.has("state")) { button.hidden = false; return; }
  history.replaceState(null, "", here);
  if (!kept || answer.get("state") !== kept.state || !answer.has("code")) { wipe(words.failed); return; }
  take({ grant_type: "authorization_code", code: answer.get("code"), redirect_uri: here, code_verifier: kept.verifier })
    .then(fill).catch(() => wipe(said.textContent || words.failed));
})();
