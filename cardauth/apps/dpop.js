// For programs that speak SMART but not DPoP (RFC 9449): include this before the
// program's own scripts, from the gateway. It makes a key that can't leave this
// browser and proves it with every request to the gateway, whose tokens are then
// worth nothing to whoever copies them.
(() => {
  "use strict";
  const gate = new URL(document.currentScript.src);
  const plain = window.fetch.bind(window);
  const nonces = new Map(); // origin → the nonce it wants
  const b64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const text = (value) => b64(new TextEncoder().encode(JSON.stringify(value)));
  const sha256 = async (s) => b64(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(s)));

  // The key outlives the way to the login page and back, and stays in this origin.
  const stored = (mode, act) => new Promise((resolve, reject) => {
    const open = indexedDB.open("clinicgate-dpop", 1);
    open.onupgradeneeded = () => open.result.createObjectStore("keys");
    open.onerror = () => reject(open.error);
    open.onsuccess = () => {
      const tx = open.result.transaction("keys", mode);
      const asked = act(tx.objectStore("keys"));
      tx.oncomplete = () => { open.result.close(); resolve(asked.result); };
      tx.onerror = () => reject(tx.error);
    };
  });
  const load = async () => {
    const kept = await stored("readonly", (s) => s.get("key"));
    if (kept) return kept;
    const made = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    await stored("readwrite", (s) => s.put(made, "key"));
    return made;
  };
  let pair;
  const key = () => (pair ??= load());

  const proof = async (method, url, token) => {
    const pair = await key();
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const claims = {
      jti: b64(crypto.getRandomValues(new Uint8Array(16))), htm: method,
      htu: url.origin + url.pathname, iat: Math.floor(Date.now() / 1000),
    };
    if (token) claims.ath = await sha256(token);
    if (nonces.has(url.origin)) claims.nonce = nonces.get(url.origin);
    const signed = text({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } }) + "." + text(claims);
    const sig = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, new TextEncoder().encode(signed));
    return signed + "." + b64(sig);
  };

  const wantsNonce = async (answer) => {
    if (answer.status !== 400 && answer.status !== 401) return false;
    if ((answer.headers.get("WWW-Authenticate") || "").includes("use_dpop_nonce")) return true;
    return (await answer.clone().text()).includes('"use_dpop_nonce"');
  };

  window.fetch = async (input, init) => {
    const request = new Request(input, init);
    const url = new URL(request.url);
    const token = (/^(?:Bearer|DPoP) (.+)$/.exec(request.headers.get("Authorization") || "") || [])[1];
    const atToken = url.origin === gate.origin && url.pathname === "/token";
    if (url.hostname !== gate.hostname || !token && !atToken) return plain(request);
    for (let again = false; ; again = true) {
      const one = new Request(request.clone());
      one.headers.set("DPoP", await proof(one.method, url, token));
      if (token) one.headers.set("Authorization", "DPoP " + token);
      const answer = await plain(one);
      const nonce = answer.headers.get("DPoP-Nonce");
      if (nonce) nonces.set(url.origin, nonce);
      if (again || !nonce || !await wantsNonce(answer)) return answer;
    }
  };
})();
