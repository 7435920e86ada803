// The cloud EHR of the lab over HTTP: FHIR at /fhir/R4, and on a second, loopback
// address what a lab needs: faults to play (POST /_ctl), every resource (GET /_dump).
//
//   node server.mjs ADDRESS:PORT CONTROL-PORT [BUNDLE.json[.gz]...]
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { Ehr, indexDefinitions } from './fhir.mjs';

const base = '/fhir/R4';
const maxBody = 32 << 20;

const goodDay = {
  down: false, // close connections without an answer
  delayMs: 0, // before every answer
  failNext: 0, // so many requests get failStatus
  failStatus: 503,
  dropAfterCommit: 0, // so many requests are done and then not answered
  nonsense: false, // answer 200 with something that is no FHIR
};

async function readBody(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > maxBody) throw new Error(`body over ${maxBody} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(res, status, headers, value) {
  const body = value === undefined ? '' : JSON.stringify(value);
  const entity = body && { 'content-type': 'application/fhir+json; charset=utf-8', 'content-length': Buffer.byteLength(body) };
  res.writeHead(status, { ...entity, ...headers });
  res.end(body);
}

const metadata = {
  resourceType: 'CapabilityStatement', status: 'active', kind: 'instance', fhirVersion: '4.0.1', format: ['json'],
  date: '2026-01-01', rest: [{ mode: 'server' }],
};

/** serve starts the EHR and returns its two listeners. */
export function serve(ehr, host, port, controlPort) {
  let faults = { ...goodDay };

  const fhir = createServer(async (req, res) => {
    try {
      const url = new URL(req.url, 'http://ehr');
      const body = await readBody(req);
      if (faults.delayMs) await sleep(faults.delayMs);
      if (faults.down) return req.socket.destroy();
      if (faults.nonsense) return res.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sign in to the guest network');
      if (faults.failNext > 0) {
        faults.failNext--;
        return res.writeHead(faults.failStatus).end();
      }
      if (!url.pathname.startsWith(base)) return res.writeHead(404).end();
      const path = url.pathname.slice(base.length);
      if (req.method === 'GET' && path === '/metadata') return send(res, 200, {}, metadata);
      const answer = await ehr.handle({ method: req.method, path: path + url.search, headers: req.headers, body });
      if (faults.dropAfterCommit > 0) {
        faults.dropAfterCommit--;
        return req.socket.destroy();
      }
      send(res, answer.status, answer.headers, answer.resource);
    } catch (err) {
      console.error(`${req.method} ${req.url}: ${err.stack}`);
      if (!res.headersSent) res.writeHead(500).end();
    }
  });

  const control = createServer(async (req, res) => {
    const route = `${req.method} ${req.url}`;
    if (route === 'GET /_dump') return send(res, 200, {}, ehr.dump());
    if (route !== 'POST /_ctl') return res.writeHead(404).end('POST /_ctl or GET /_dump\n');
    try {
      const wish = JSON.parse(await readBody(req));
      const unknown = Object.keys(wish).filter((k) => !(k in goodDay));
      if (unknown.length) throw new Error(`no such fault: ${unknown}; there are ${Object.keys(goodDay)}`);
      faults = { ...goodDay, ...wish };
      send(res, 200, {}, faults);
    } catch (err) {
      res.writeHead(400).end(`${err.message}\n`);
    }
  });

  fhir.listen(port, host);
  control.listen(controlPort, '127.0.0.1');
  return { fhir, control };
}

function readBundle(file) {
  const raw = readFileSync(file);
  return JSON.parse(file.endsWith('.gz') ? gunzipSync(raw) : raw);
}

async function main([listen, controlPort, ...bundles]) {
  const [host, port] = listen.split(':');
  indexDefinitions();
  const ehr = new Ehr();
  for (const file of bundles) {
    console.log(`loaded ${await ehr.load(readBundle(file))} resources of ${file}`);
  }
  const { fhir } = serve(ehr, host, Number(port), Number(controlPort));
  fhir.on('listening', () => console.log(`ready at http://${listen}${base}`));
}

if (process.argv.length > 2 && import.meta.url === `file://${process.argv[1]}`) {
  await main(process.argv.slice(2));
}
