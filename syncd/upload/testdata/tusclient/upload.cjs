// Uploads a file with tus-js-client as a device: upload.cjs URL FILE CA CERT KEY.
const fs = require("node:fs");
const tus = require("tus-js-client");

const [url, file, ca, cert, key] = process.argv.slice(2);
const read = (name) => fs.readFileSync(name);
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint: url,
  chunkSize: 64 * 1024,
  uploadSize: fs.statSync(file).size,
  retryDelays: [0, 50, 100, 200],
  metadata: { filename: "ecg" },
  httpStack: new tus.DefaultHttpStack({ ca: read(ca), cert: read(cert), key: read(key), servername: "example.com" }),
  onError(err) {
    console.error(String(err));
    process.exit(1);
  },
  onSuccess() {
    console.log("done", upload.url);
  },
});
upload.start();
