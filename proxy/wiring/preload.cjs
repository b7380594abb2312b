'use strict';
// Makes an unmodified Node program send its HTTP and HTTPS through the proxy named in its environment.
//
// Loaded by NODE_OPTIONS=--require=... Node reads HTTPS_PROXY by itself only from 22.21 and 24.5 on
// (NODE_USE_ENV_PROXY, --use-env-proxy: nodejs.org/api/cli.html); before that fetch and http.request
// connect directly. Where the runtime can do it natively this file does nothing.
//
// What is covered: fetch (and whatever else uses undici's global dispatcher), http.request, https.request,
// with the default agent, with agents of one's own, and with agent: false.
// What is left alone: unix sockets, agents that make their own connections (proxy libraries), http2, net, tls.
//
//   http://host/path   -> GET http://host/path HTTP/1.1 to the proxy        (RFC 9112 section 3.2.2)
//   https://host/path  -> CONNECT host:443, then TLS with the target's name (RFC 9110 section 9.3.6)
//   a proxy by https://  -> the same, inside TLS with the proxy; NODE_EXTRA_CA_CERTS names its CA too
//   a refused CONNECT  -> an error with code ERR_PROXY_TUNNEL that carries the proxy's reason
//   an unreadable proxy URL -> a warning, and the same error for all that would have gone that way: nothing goes around
//
// This routes; it does not confine. A program that opens sockets itself is stopped by the network, not here.

const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const tls = require('node:tls');

const CONNECT_TIMEOUT_MS = 30_000;
const REASON_BYTES = 4096; // of a refusal's body; what lies beyond is not a reason
const LOADED = Symbol.for('claiim.wiring');
const DISPATCHER = Symbol.for('undici.globalDispatcher.1'); // undici lib/global.js

/** The value of an environment variable; the lower-case spelling wins, as in curl. */
function variable(name) {
  return process.env[name.toLowerCase()] || process.env[name] || '';
}

const UNREADABLE = 'the proxy variable is not an http:// URL, nor an https:// one'; // the text may hold a token

/** A proxy as {host, port, authorization}, {unreadable: true}, or null when none is named. */
function readProxy(text) {
  if (!text) return null;
  let url = null;
  let user;
  try {
    url = new URL(text.includes('://') ? text : `http://${text}`);
    user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  } catch {
    url = null;
  }
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    process.emitWarning(`${UNREADABLE}; nothing is sent by it`);
    return { unreadable: true };
  }
  return {
    host: bare(url.hostname),
    port: Number(url.port) || (url.protocol === 'https:' ? 443 : 80),
    secure: url.protocol === 'https:',
    authorization: url.username ? `Basic ${Buffer.from(user).toString('base64')}` : '',
  };
}

/** A host without the brackets of an IPv6 literal. */
function bare(host) {
  return String(host || 'localhost').replace(/^\[(.*)\]$/, '$1');
}

/** host:port with the brackets that an IPv6 literal needs. */
function authority(host, port) {
  return `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** NO_PROXY as curl and Go read it: "*", a host with everything below it, ".suffix", and an optional ":port". */
function readExceptions(text) {
  return text.split(/[\s,]+/).filter(Boolean).map((entry) => {
    const match = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry) || /^([^:]+):(\d+)$/.exec(entry);
    const host = (match ? match[1] : entry).toLowerCase().replace(/^\*?\./, '');
    return { host, port: match && match[2] ? Number(match[2]) : 0 };
  });
}

const proxies = {
  'http:': readProxy(variable('HTTP_PROXY') || variable('ALL_PROXY')),
  'https:': readProxy(variable('HTTPS_PROXY') || variable('ALL_PROXY')),
};
const exceptions = readExceptions(variable('NO_PROXY'));

/** The proxy for one destination, or null for a direct connection. */
function proxyFor(protocol, host, port) {
  const name = bare(host).toLowerCase();
  const excepted = exceptions.some((entry) =>
    (entry.host === '*' || name === entry.host || name.endsWith(`.${entry.host}`))
    && (!entry.port || entry.port === Number(port)));
  return excepted ? null : proxies[protocol] || null;
}

/** Reads what the proxy said about a refused CONNECT, at most REASON_BYTES of it. */
function readReason(response, socket, head, done) {
  const wanted = Math.min(Number(response.headers['content-length'] || 0), REASON_BYTES);
  let body = head;
  const finish = () => {
    socket.destroy();
    let text = body.subarray(0, REASON_BYTES).toString();
    try {
      const problem = JSON.parse(text);
      text = problem.reason || problem.detail || problem.message || '';
      if (problem.chron_id) text += ` [${problem.chron_id}]`;
    } catch { /* not JSON: shown as it came */ }
    const words = String(text).replace(/[^\x20-\x7e]+/g, ' ').trim().slice(0, 500);
    done(words);
  };
  if (body.length >= wanted) return finish();
  socket.on('data', (chunk) => {
    body = Buffer.concat([body, chunk]);
    if (body.length >= wanted) socket.end();
  });
  socket.once('end', finish).on('error', () => {});
  return undefined;
}

/** A connection to the proxy itself. */
function connectToProxy(proxy, settings) {
  const place = { host: proxy.host, port: proxy.port };
  if (!proxy.secure) return net.connect({ ...place, ...settings });
  return tls.connect({ ...place, ...settings, servername: net.isIP(proxy.host) ? '' : proxy.host, ALPNProtocols: ['http/1.1'] });
}

/** What a request ends with that did not get through. */
function tunnelError(message, cause) {
  const error = new Error(message, cause && { cause });
  error.code = 'ERR_PROXY_TUNNEL';
  return error;
}

/** Opens a tunnel to host:port; calls done(error) or done(null, socket). */
function openTunnel(proxy, host, port, done) {
  if (proxy.unreadable) return process.nextTick(done, tunnelError(UNREADABLE));
  const target = authority(bare(host), port);
  const fail = (message, cause) => done(tunnelError(message, cause));
  const headers = { host: target };
  if (proxy.authorization) headers['proxy-authorization'] = proxy.authorization;
  const request = http.request({
    method: 'CONNECT', host: proxy.host, port: proxy.port, path: target, headers, timeout: CONNECT_TIMEOUT_MS,
    createConnection: () => connectToProxy(proxy), // no agent: a tunnel is never pooled as if it were the proxy itself
  });
  request.once('timeout', () => request.destroy(new Error(`no answer in ${CONNECT_TIMEOUT_MS / 1000} s`)));
  request.once('error', (error) => fail(`the proxy opened no tunnel to ${target}: ${error.message}`, error));
  request.once('response', (response) => fail(`the proxy answered CONNECT ${target} without a tunnel`));
  request.once('connect', (response, socket, head) => {
    socket.setTimeout(0);
    if (response.statusCode >= 200 && response.statusCode < 300) {
      if (head.length) socket.unshift(head);
      return done(null, socket);
    }
    return readReason(response, socket, head, (reason) =>
      fail(`the proxy refused CONNECT ${target}: ${response.statusCode} ${reason || response.statusMessage}`));
  });
  request.end();
  return undefined;
}

/** https.Agent: the socket it asks for is TLS inside a tunnel. */
function coverHttps() {
  const connectDirectly = https.Agent.prototype.createConnection;
  https.Agent.prototype.createConnection = function createConnection(options, done) {
    const proxy = options && typeof options === 'object' && typeof done === 'function'
      && !options.socket && !options.socketPath
      && proxyFor('https:', options.host, options.port || 443);
    if (!proxy) return Reflect.apply(connectDirectly, this, arguments);
    openTunnel(proxy, options.host, options.port || 443, (error, socket) => {
      if (error) return done(error);
      return done(null, connectDirectly.call(this, { ...options, socket }));
    });
    return undefined;
  };
}

/** http.Agent: the request goes to the proxy, with the whole URL in its first line. */
function coverHttp() {
  const addDirectly = http.Agent.prototype.addRequest;
  const createConnection = http.Agent.prototype.createConnection;
  http.Agent.prototype.addRequest = function addRequest(request, options, ...rest) {
    const proxy = options && typeof options === 'object' && !options.socketPath
      && !(this instanceof https.Agent) && this.createConnection === createConnection
      && request.method !== 'CONNECT' && proxyFor('http:', options.host, options.port || 80);
    if (!proxy) return addDirectly.call(this, request, options, ...rest);
    if (proxy.unreadable) return request.onSocket(null, tunnelError(UNREADABLE)); // as an agent tells that it has no socket
    rewriteRequest(request, options, proxy);
    return addDirectly.call(proxy.secure ? secureAgent(proxy) : this, request, { ...options, host: proxy.host, hostname: proxy.host, port: proxy.port }, ...rest);
  };
}

/** The agent whose sockets are TLS to the proxy, for requests that are plain inside it. */
function secureAgent(proxy) {
  if (!proxy.agent) {
    proxy.agent = new http.Agent({ keepAlive: true });
    proxy.agent.createConnection = () => connectToProxy(proxy);
  }
  return proxy.agent;
}

/** Puts the absolute form and the credentials into a request whose head may already be written. */
function rewriteRequest(request, options, proxy) {
  const port = Number(options.port || 80);
  const host = bare(options.host);
  const origin = `http://${port === 80 ? authority(host, 80).replace(/:80$/, '') : authority(host, port)}`;
  const [from, to] = [`${request.method} ${request.path} `, `${request.method} ${origin}${request.path} `];
  request.path = origin + request.path;
  if (!request._header) {
    if (proxy.authorization) request.setHeader('Proxy-Authorization', proxy.authorization);
    return;
  }
  // Headers given as an array, or Expect: 100-continue, are serialised before the agent is asked.
  const added = proxy.authorization ? `Proxy-Authorization: ${proxy.authorization}\r\n` : '';
  if (request._header.startsWith(from)) {
    request._header = to + request._header.slice(from.length, -2) + added + '\r\n';
  }
}

/** fetch: undici's own Agent, whose sockets come out of a tunnel. */
function coverFetch() {
  void globalThis.Headers; // the first use of any of undici's globals loads it and sets its dispatcher
  const direct = globalThis[DISPATCHER];
  if (!direct || direct.constructor.name !== 'Agent') return; // someone chose a dispatcher: theirs stands
  class ProxiedAgent extends direct.constructor {
    dispatch(options, handler) {
      const url = new URL(String(options.origin));
      const port = url.port || (url.protocol === 'https:' ? 443 : 80);
      const proxy = proxyFor(url.protocol, url.hostname, port);
      if (!proxy) return direct.dispatch(options, handler);
      if (url.protocol === 'https:' || proxy.unreadable) return super.dispatch(options, handler);
      return super.dispatch({
        ...options,
        origin: `http://${authority(proxy.host, proxy.port)}`,
        path: url.origin + options.path,
        headers: withProxyHeaders(options.headers, url.host, proxy),
      }, handler);
    }
  }
  const agent = new ProxiedAgent({ connect: connectThroughTunnel });
  Object.defineProperty(globalThis, DISPATCHER, {
    value: agent, writable: true, enumerable: false, configurable: false, // as undici declares it
  });
}

/** The headers of a dispatch (flat list, pairs or object) with Host and the credentials. */
function withProxyHeaders(headers, host, proxy) {
  let flat = [];
  if (Array.isArray(headers)) flat = [...headers];
  else if (headers && typeof headers[Symbol.iterator] === 'function') flat = [...headers].flat();
  else flat = Object.entries(headers || {}).flat();
  const named = (name) => flat.some((text, index) => index % 2 === 0 && String(text).toLowerCase() === name);
  if (!named('host')) flat.push('host', host);
  if (proxy.authorization) flat.push('proxy-authorization', proxy.authorization);
  return flat;
}

/** undici's connect option (undici.nodejs.org, Client, ConnectOptions): a ready socket, by callback. */
function connectThroughTunnel(options, done) {
  const host = bare(options.hostname);
  if (options.protocol === 'http:') { // the dispatch above named the proxy as its origin
    const proxy = proxies['http:'];
    if (proxy.unreadable) return void process.nextTick(done, tunnelError(UNREADABLE));
    const socket = connectToProxy(proxy, { noDelay: true });
    const fail = (error) => done(error);
    socket.once('error', fail).once(proxy.secure ? 'secureConnect' : 'connect', () => {
      socket.off('error', fail);
      done(null, socket);
    });
    return;
  }
  openTunnel(proxies['https:'], host, Number(options.port) || 443, (error, socket) => {
    if (error) return done(error);
    const name = options.servername || host;
    const secured = tls.connect({
      socket, servername: net.isIP(name) ? '' : name, host, ALPNProtocols: ['http/1.1'],
    });
    const fail = (reason) => done(reason);
    return secured.once('error', fail).once('secureConnect', () => {
      secured.off('error', fail);
      done(null, secured);
    });
  });
}

const native = process.allowedNodeEnvironmentFlags.has('--use-env-proxy');
if (!globalThis[LOADED] && !native && (proxies['http:'] || proxies['https:'])) {
  Object.defineProperty(globalThis, LOADED, { value: true });
  coverHttps();
  coverHttp();
  if (typeof globalThis.fetch === 'function') coverFetch();
}
