// What a program does with a patient's record, with two stock FHIR clients:
//
//   node day.mjs BASE TOKEN PATIENT-ID FAMILY CODE
//
// It prints what it found as JSON.
import * as kitModule from 'fhir-kit-client';
import FHIR from 'fhirclient';

const Client = kitModule.Client || kitModule.default;

const [base, token, id, family, asked] = process.argv.slice(2);
const ids = (bundle) => (bundle.entry || []).filter((e) => e.search?.mode !== 'outcome').map((e) => `${e.resource.resourceType}/${e.resource.id}`);
const tags = (bundle) => (bundle.meta?.tag || []).map((t) => t.code).join(' ');

async function kit() {
  const client = new Client({ baseUrl: base, bearerToken: token });
  const metadata = await client.capabilityStatement();
  const patient = await client.read({ resourceType: 'Patient', id });
  const version = await client.vread({ resourceType: 'Patient', id, version: patient.meta.versionId });
  let page = await client.resourceSearch({ resourceType: 'Observation', searchParams: { patient: id, _count: 40, _sort: '-date' } });
  const seen = ids(page);
  const first = page;
  while ((page = await client.nextPage({ bundle: page }))) seen.push(...ids(page));
  const posted = await client.resourceSearch({ resourceType: 'Condition', searchParams: { patient: id }, options: { postSearch: true } });
  const found = await client.resourceSearch({ resourceType: 'Patient', searchParams: { family } });
  const batch = await client.batch({ body: { resourceType: 'Bundle', type: 'batch', entry: [`Patient/${id}`, `Condition?patient=${id}`, 'Patient/none-such'].map((url) => ({ request: { method: 'GET', url } })) } });
  const everything = await client.operation({ name: '$everything', resourceType: 'Patient', id, method: 'GET' });
  return {
    kind: metadata.kind, family: patient.name[0].family, version: version.meta.versionId, observations: seen.length, distinct: new Set(seen).size,
    total: first.total, tags: tags(first), conditions: ids(posted).length, found: ids(found).length, foundTags: tags(found),
    batch: batch.entry.map((e) => e.response.status).join(' '), batched: ids(batch.entry[1].resource).length, everything: ids(everything).sort(),
  };
}

async function smart() {
  const client = FHIR({ headers: {} }, {}).client({ serverUrl: base, tokenResponse: { access_token: token, patient: id } });
  const patient = await client.patient.read();
  const all = await client.request(`Observation?patient=${id}&_count=30`, { pageLimit: 0, flat: true });
  const coded = await client.request(`Observation?patient=${id}&code=${asked}&_sort=date`, { flat: true });
  return { family: patient.name[0].family, observations: all.filter((r) => r.resourceType === 'Observation').length, coded: coded.filter((r) => r.resourceType === 'Observation').map((r) => r.effectiveDateTime) };
}

(async () => {
  console.log(JSON.stringify({ kit: await kit(), smart: await smart() }));
})().catch((err) => {
  console.error(err.stack, JSON.stringify(err.response?.data || {}));
  process.exit(1);
});
