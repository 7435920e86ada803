// @medplum/core wants the browser's WebSocket when it is loaded, although nothing
// here opens one; Node.js has it from version 22.
globalThis.WebSocket ??= class WebSocket {};
