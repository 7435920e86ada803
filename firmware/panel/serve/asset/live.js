// Keeps the page as the gateway is: parts that changed come as events. When they
// stop coming the page says so, and goes on by itself once they come again.
(() => {
  "use strict";
  const body = document.body, lost = document.getElementById("lost");
  const silent = 25000; // ms; the gateway says something every ten seconds
  const again = 3000;
  let source, heard = 0, wait = 0, gone = false, quiet = 0;

  const clock = () => new Date(heard || Date.now()).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
  const missing = () => {
    if (gone) return;
    gone = true;
    clearTimeout(quiet);
    body.classList.add("stale");
    lost.className = "lost";
    lost.textContent = body.dataset.lost + " " + body.dataset.since + " " + clock() + ".";
    lost.hidden = false;
  };
  const hear = () => {
    heard = Date.now();
    clearTimeout(wait);
    wait = setTimeout(() => { missing(); open(); }, silent);
    if (!gone) return;
    gone = false;
    body.classList.remove("stale");
    lost.className = "lost back";
    lost.textContent = body.dataset.back;
    quiet = setTimeout(() => { lost.hidden = true; }, 6000);
  };

  // What a person opened or stands on stays so while a part is renewed.
  const renew = (id, html) => {
    const part = document.querySelector("#" + CSS.escape(id) + " > .body");
    if (!part) return;
    const open = [...part.querySelectorAll("details")].map((d) => d.open);
    const focus = [...part.querySelectorAll("summary, a, button")].indexOf(document.activeElement);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((d, i) => { d.open = open[i] === true; });
    if (focus >= 0) part.querySelectorAll("summary, a, button")[focus]?.focus();
  };

  const open = () => {
    source?.close();
    source = new EventSource(body.dataset.events);
    source.addEventListener("parts", (e) => {
      hear();
      for (const [id, html] of Object.entries(JSON.parse(e.data))) renew(id, html);
      body.dataset.live = "yes";
    });
    source.addEventListener("beat", hear);
    // Another release of the page is there: its parts may not fit into this one.
    source.addEventListener("reload", () => location.reload());
    source.onerror = () => {
      missing();
      clearTimeout(wait);
      source.close();
      wait = setTimeout(open, again);
    };
  };
  open();
  window.addEventListener("online", open);
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", (e) => { if (e.persisted) open(); });
})();
