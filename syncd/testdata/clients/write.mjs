// What a doctor's program writes, with a stock FHIR client:
//
//   node write.mjs BASE TOKEN PATIENT-ID WORD
//
// It prints what came of it as JSON. WORD is in what is written.
import * as kitModule from 'fhir-kit-client';

const Client = kitModule.Client || kitModule.default;
const [base, token, id, word] = process.argv.slice(2);
const client = new Client({ baseUrl: base, bearerToken: token });
const http = (resource) => Client.httpFor(resource).response;
const subject = { reference: `Patient/${id}` };
const observation = (text) => ({ resourceType: 'Observation', status: 'final', code: { text }, subject, effectiveDateTime: '2026-11-22T08:00:00Z', valueQuantity: { value: 72, unit: '/min' } });
const pending = (r) => (r.meta?.tag || []).some((t) => t.system === 'urn:clinicgate:pending');
const ids = (bundle) => (bundle.entry || []).filter((e) => e.search?.mode !== 'outcome').map((e) => `${e.resource.resourceType}/${e.resource.id}`);

(async () => {
  const made = await client.create({ resourceType: 'Observation', body: observation(`${word} pulse`), options: { headers: { 'Idempotency-Key': word } } });
  const status = [http(made).status];
  const again = await client.create({ resourceType: 'Observation', body: observation(`${word} pulse`), options: { headers: { 'Idempotency-Key': word } } });
  const read = await client.read({ resourceType: 'Observation', id: made.id });
  const changed = await client.update({ resourceType: 'Observation', id: made.id, body: { ...read, valueQuantity: { value: 74, unit: '/min' } } });
  status.push(http(changed).status);
  const patched = await client.patch({ resourceType: 'Observation', id: made.id, jsonPatch: [
    { op: 'test', path: '/valueQuantity/value', value: 74 }, { op: 'replace', path: '/valueQuantity/value', value: 76 },
  ] });
  status.push(http(patched).status);
  let clash = 0;
  await client.update({ resourceType: 'Observation', id: made.id, body: read }).catch((e) => { clash = e.response.status; });
  const bundle = await client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry: [
    { fullUrl: 'urn:uuid:0e2f7f6a-0001-4000-8000-000000000001', resource: observation(`${word} systolic`), request: { method: 'POST', url: 'Observation' } },
    { resource: { resourceType: 'DiagnosticReport', status: 'final', code: { text: `${word} report` }, subject, result: [{ reference: 'urn:uuid:0e2f7f6a-0001-4000-8000-000000000001' }] }, request: { method: 'POST', url: 'DiagnosticReport', ifNoneExist: `identifier=urn:test|${word}` } },
  ] } });
  status.push(...bundle.entry.map((e) => Number(e.response.status)));
  const gone = await client.create({ resourceType: 'Observation', body: observation(`${word} mistake`) });
  const hidden = await client.delete({ resourceType: 'Observation', id: gone.id });
  status.push(http(hidden).status);
  let hiddenRead = 0;
  await client.read({ resourceType: 'Observation', id: gone.id }).catch((e) => { hiddenRead = e.response.status; });
  const found = await client.resourceSearch({ resourceType: 'Observation', searchParams: { patient: id, date: '2026-11-22' } });
  const report = bundle.entry[1].resource;
  console.log(JSON.stringify({
    status: status.join(' '), same: again.id === made.id, pending: pending(made), clash, hiddenRead, value: (await client.read({ resourceType: 'Observation', id: made.id })).valueQuantity.value,
    id: made.id, gone: gone.id, report: report.id, result: report.result[0].reference, systolic: `Observation/${bundle.entry[0].resource.id}`, found: ids(found),
  }));
})().catch((err) => {
  console.error(err.stack, JSON.stringify(err.response?.data || {}));
  process.exit(1);
});
