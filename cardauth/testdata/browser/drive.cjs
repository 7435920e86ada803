// Drives a real browser for the test: one JSON command a line in, one answer out.
const path = require("path");
const settings = JSON.parse(process.env.BROWSER);
const { chromium } = require(path.resolve(settings.modules, "playwright-core"));

const run = async () => {
  const browser = await chromium.launch({
    executablePath: settings.chromium,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.internal 127.0.0.1",
      "--ignore-certificate-errors-spki-list=" + settings.trusted.join(",")],
  });
  const context = await browser.newContext();
  context.setDefaultTimeout(60000);
  let page = await context.newPage();
  const seen = [];
  const watch = (p) => {
    p.on("console", (m) => { if (m.type() === "error") seen.push(m.text()); });
    p.on("pageerror", (e) => seen.push(String(e)));
  };
  watch(page);
  const act = {
    open: async ({ url }) => { await page.goto(url, { waitUntil: "load" }); },
    wait: async ({ selector }) => { await page.waitForSelector(selector, { timeout: 60000 }); },
    fill: async ({ selector, value }) => { await page.fill(selector, value); },
    click: async ({ selector }) => { await page.click(selector); },
    state: async ({ not }) => {
      await page.waitForFunction((not) => { const e = document.getElementById("state"); return e && !not.includes(e.textContent); }, not, { timeout: 60000 });
      return { state: await page.textContent("#state"), result: JSON.parse(await page.textContent("#result")) };
    },
    look: async () => ({ url: page.url(), text: await page.textContent("body"), scripts: await page.locator("script").count() }),
    drawn: async () => {
      await page.waitForFunction(() => { const i = document.querySelector("#sheet img"); return i && i.complete && i.naturalWidth > 0; }, null, { timeout: 15000 });
      return page.evaluate(() => { const i = document.querySelector("#sheet img"); return { wide: i.naturalWidth, high: i.naturalHeight, alt: i.alt }; });
    },
    gone: async ({ selector }) => { await page.waitForSelector(selector, { state: "detached", timeout: 30000 }); },
    shot: async ({ file }) => { await page.setViewportSize({ width: 1180, height: 1000 }); await page.screenshot({ path: file, fullPage: true }); },
    seen: async () => ({ seen }),
    fetch: async ({ url, init }) => page.evaluate(async ([url, init]) => {
      try { const r = await fetch(url, init); return { status: r.status, text: (await r.text()).slice(0, 500) }; } catch (e) { return { error: String(e) }; }
    }, [url, init]),
    // A new tab of the same browser: the cookie stays, what the app kept does not.
    tab: async () => { page = await context.newPage(); watch(page); },
  };
  // Not before now: lines that come before somebody waits for them are lost.
  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const command = JSON.parse(line);
    let answer;
    try { answer = { ok: true, value: await act[command.do](command) }; } catch (e) {
      answer = { error: String(e), url: page.url(), text: (await page.textContent("body").catch(() => "")).slice(0, 600), seen };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  await browser.close();
};
run().catch((e) => { process.stdout.write(JSON.stringify({ error: String(e.stack || e) }) + "\n"); process.exit(1); });
