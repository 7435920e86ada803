// Drives a real browser for the page's test: one JSON command a line in, one answer out.
const path = require("path");
const fs = require("fs");
const settings = JSON.parse(process.env.BROWSER);
const { chromium } = require(path.resolve(settings.driver, "playwright-core"));
const axe = fs.readFileSync(path.resolve(settings.axe, "axe-core/axe.min.js"), "utf8");

const run = async () => {
  const browser = await chromium.launch({
    executablePath: settings.chromium,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.internal 127.0.0.1",
      "--ignore-certificate-errors-spki-list=" + settings.trusted.join(",")],
  });
  let context, page, seen, wire;
  const act = {
    // A new person with an empty cache: size, language, colours, with or without scripts.
    person: async (p) => {
      await context?.close();
      context = await browser.newContext({
        viewport: { width: p.width, height: p.height }, locale: p.lang || "en", timezoneId: "Europe/Madrid", javaScriptEnabled: p.scripts !== false,
        colorScheme: p.dark ? "dark" : "light", deviceScaleFactor: p.scale || 1, isMobile: p.width < 600, hasTouch: p.width < 600,
        bypassCSP: false,
      });
      page = await context.newPage();
      seen = [];
      wire = new Map(); // request → bytes
      page.on("console", (m) => { if (m.type() === "error") seen.push(m.text()); });
      page.on("pageerror", (e) => seen.push(String(e)));
      const cdp = await context.newCDPSession(page);
      await cdp.send("Network.enable");
      cdp.on("Network.requestWillBeSent", (e) => { wire.set(e.requestId, 0); });
      cdp.on("Network.dataReceived", (e) => { wire.set(e.requestId, wire.get(e.requestId) + e.dataLength); }); // an event stream never finishes
      cdp.on("Network.loadingFinished", (e) => { wire.set(e.requestId, Math.max(e.encodedDataLength, wire.get(e.requestId))); });
    },
    open: async ({ url }) => { const r = await page.goto(url, { waitUntil: "load" }); return { status: r.status() }; },
    live: async () => { await page.waitForSelector("body[data-live=yes]", { timeout: 30000 }); },
    wait: async ({ selector, state }) => { await page.waitForSelector(selector, { timeout: 30000, state: state || "visible" }); },
    says: async ({ selector, text }) => {
      await page.waitForFunction(([s, t]) => document.querySelector(s)?.innerText.includes(t), [selector, text], { timeout: 30000 });
    },
    text: async ({ selector }) => ({ text: await page.innerText(selector) }),
    click: async ({ selector }) => { await page.click(selector); },
    press: async ({ key }) => {
      await page.keyboard.press(key);
      return page.evaluate(() => {
        const e = document.activeElement, box = e.getBoundingClientRect();
        return { tag: e.tagName, text: e.innerText, visible: box.width > 0 && box.right > 0 && getComputedStyle(e).outlineStyle !== "none" };
      });
    },
    // Against WCAG 2.2 AA. The checker runs in a world of its own, so the page's policy
    // stays in force for the page.
    axe: async () => {
      const cdp = await context.newCDPSession(page);
      const { frameTree } = await cdp.send("Page.getFrameTree");
      const { executionContextId } = await cdp.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
      await cdp.send("Runtime.evaluate", { contextId: executionContextId, expression: axe });
      const { result, exceptionDetails } = await cdp.send("Runtime.evaluate", {
        contextId: executionContextId, awaitPromise: true, returnByValue: true,
        expression: `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
          .then((r) => ({ passes: r.passes.length, violations: r.violations.map((v) => v.id + ": " + v.help + " " + v.nodes.map((n) => n.html.slice(0, 160)).join(" ")) }))`,
      });
      if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
      await cdp.detach();
      return result.value;
    },
    wide: async () => page.evaluate(() => ({ page: document.documentElement.scrollWidth, window: innerWidth })),
    shot: async ({ file, full }) => { await page.screenshot({ path: file, fullPage: full !== false, animations: "disabled" }); },
    seen: async () => ({ seen }),
    wire: async () => ({ requests: wire.size, bytes: [...wire.values()].reduce((a, b) => a + b, 0), ...(await page.evaluate(() => {
      const t = performance.getEntriesByType("navigation")[0], p = performance.getEntriesByName("first-contentful-paint")[0];
      return { load: t.loadEventEnd, paint: p ? p.startTime : 0 };
    })) }),
  };
  // Not before now: lines that come before somebody waits for them are lost.
  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const command = JSON.parse(line);
    let answer;
    try { answer = { ok: true, value: await act[command.do](command) }; } catch (e) {
      answer = { error: String(e), text: (await page.innerText("body").catch(() => "")).slice(0, 600), seen };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  await browser.close();
};
run().catch((e) => { process.stdout.write(JSON.stringify({ error: String(e.stack || e) }) + "\n"); process.exit(1); });
