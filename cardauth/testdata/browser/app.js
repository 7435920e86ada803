// A SMART app as its makers write them: nothing here knows the gateway.
const show = (state, value) => {
  document.getElementById("result").textContent = JSON.stringify(value);
  document.getElementById("state").textContent = state;
};
fetch("settings.json").then((r) => r.json()).then((settings) =>
  FHIR.oauth2.init({ ...settings, redirectUri: location.origin + location.pathname })
).then((client) => {
  const read = () => client.request("Patient/p1").then(
    (patient) => show("read", { patient: patient.id, user: client.getFhirUser(), token: client.state.tokenResponse.access_token, scope: client.state.tokenResponse.scope, refresh: !!client.state.tokenResponse.refresh_token }),
    (err) => show("refused", { status: err.status || err.statusCode, message: String(err.message || err).slice(0, 300) }),
  );
  document.getElementById("again").onclick = () => { show("reading", {}); read(); };
  return read();
}).catch((err) => show("failed", { message: String(err.stack || err) }));
