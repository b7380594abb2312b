// Reads requests as Node does and tells of each connection, when it has ended, in one line of JSON.
const http = require("node:http");

const connections = new Map();
const options = { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, maxHeaderSize: 1 << 20 };

const server = http.createServer(options, read);
// By itself Node answers an expectation that it does not know with 417; what it read is the same.
server.on("checkExpectation", read);

function read(request, response) {
  const body = [];
  request.on("data", (piece) => body.push(piece));
  request.on("end", () => {
    let route = null;
    try {
      const url = new URL(request.url, "http://h");
      route = [url.pathname, [...url.searchParams]];
    } catch {}
    const hosts = request.rawHeaders.filter((_, at) => at % 2 === 1 && request.rawHeaders[at - 1].toLowerCase() === "host");
    connections.get(request.socket).requests.push({
      method: request.method,
      target: request.url,
      host: hosts.join(","),
      body: Buffer.concat(body).toString("latin1"),
      route,
    });
    response.end();
  });
}
server.maxHeadersCount = 0;
server.on("connection", (socket) => {
  const port = socket.remotePort;
  connections.set(socket, { port, requests: [], fault: "" });
  socket.on("close", () => {
    process.stdout.write(JSON.stringify(connections.get(socket)) + "\n");
    connections.delete(socket);
  });
});
server.on("clientError", (error, socket) => {
  connections.get(socket).fault = error.code || String(error);
  socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
});
server.listen(0, "127.0.0.1", () => process.stdout.write(JSON.stringify({ listening: server.address().port }) + "\n"));
