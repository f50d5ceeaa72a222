// A provider that lies, for tests: it does what no real one does, one kind of lie at a time. Node's own modules alone.
//
// The lie is the code that a client sends, `LIE` or `LIE.NONCE`; the test knows the nonce from the URL that it was to open.
// Lies about the documents are told below /LIE, each an issuer of its own. Writes one line of JSON, {"origin"}.
import * as crypto from 'node:crypto';
import * as http from 'node:http';

const CLIENT = 'strongroom';
const pair = (kind, options) => crypto.generateKeyPairSync(kind, options);
const own = pair('rsa', { modulusLength: 2048 });
const foreign = pair('rsa', { modulusLength: 2048 });
const weak = pair('rsa', { modulusLength: 1024 });
const ec = pair('ec', { namedCurve: 'P-256' });
const next = pair('ec', { namedCurve: 'P-256' });
const jwk = (key, kid) => ({ ...key.publicKey.export({ format: 'jwk' }), kid, use: 'sig' });
const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

function sign(header, claims, key) {
  const text = `${b64(header)}.${b64(claims)}`;
  const data = Buffer.from(text);
  const mac = (hash, secret) => crypto.createHmac(hash, secret).update(data).digest();
  const made = {
    none: () => Buffer.alloc(0),
    RS256: () => crypto.sign('sha256', data, key.privateKey),
    RS512: () => crypto.sign('sha512', data, key.privateKey),
    ES256: () => crypto.sign('sha256', data, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }),
    HS256: () => mac('sha256', key),
    HS512: () => mac('sha512', key),
  }[header.alg]();
  return `${text}.${made.toString('base64url')}`;
}

const pem = own.publicKey.export({ type: 'spki', format: 'pem' });
let published = [jwk(own, 'own'), jwk(weak, 'weak'), jwk(ec, 'ec')];
let fetched = 0;

/** The ID token of a lie. */
function token(lie, issuer, nonce, access) {
  const half = crypto.createHash('sha256').update(access).digest().subarray(0, 16).toString('base64url');
  const claims = {
    iss: issuer, aud: CLIENT, sub: 'mallory', iat: now(), exp: now() + 300, auth_time: now(), nonce,
    amr: ['mfa'], groups: ['ml-engineers'], at_hash: half, preferred_username: 'mallory',
  };
  const by = (change, header = { alg: 'RS256', kid: 'own' }, key = own) => sign(header, { ...claims, ...change }, key);
  const without = (name) => { delete claims[name]; return by({}); };
  const rs256 = by({});
  const made = {
    'honest': () => rs256,
    'honest-ec': () => by({}, { alg: 'ES256', kid: 'ec' }, ec),
    'no-at-hash': () => without('at_hash'),
    'alg-none': () => by({}, { alg: 'none' }),
    'alg-None': () => `${b64('{"alg":"None"}')}.${rs256.split('.')[1]}.`,
    'no-alg': () => `${b64('{"kid":"own"}')}.${rs256.split('.').slice(1).join('.')}`,
    'no-signature': () => `${rs256.split('.').slice(0, 2).join('.')}.`,
    'hs256-public-pem': () => by({}, { alg: 'HS256', kid: 'own' }, pem),
    'hs256-modulus': () => by({}, { alg: 'HS256', kid: 'own' }, Buffer.from(jwk(own).n, 'base64url')),
    'hs512-client-id': () => by({}, { alg: 'HS512' }, CLIENT),
    'hs256-empty': () => by({}, { alg: 'HS256' }, ''),
    'rs512': () => by({}, { alg: 'RS512', kid: 'own' }),
    'foreign-key': () => by({}, { alg: 'RS256', kid: 'own' }, foreign),
    'key-in-header': () => by({}, { alg: 'RS256', jwk: jwk(foreign, 'own'), jku: `${issuer}/foreign`, kid: 'own' }, foreign),
    'ec-alg-rsa-key': () => by({}, { alg: 'ES256', kid: 'own' }, ec),
    'weak-key': () => by({}, { alg: 'RS256', kid: 'weak' }, weak),
    'no-kid-foreign': () => by({}, { alg: 'RS256' }, foreign),
    'kid-of-nowhere': () => by({}, { alg: 'RS256', kid: 'nowhere' }),
    'kid-huge': () => by({}, { alg: 'RS256', kid: 'k'.repeat(20000) }),
    'rotated': () => { published = [...published.filter((k) => k.kid !== 'next'), jwk(next, 'next')]; return by({}, { alg: 'ES256', kid: 'next' }, next); },
    'crit': () => by({}, { alg: 'RS256', kid: 'own', crit: ['exp'] }),
    'nested': () => by({}, { alg: 'RS256', kid: 'own', cty: 'JWT' }),
    'typ-at': () => by({}, { alg: 'RS256', kid: 'own', typ: 'at+jwt' }),
    'changed': () => { const [h, p, s] = rs256.split('.'); return `${h}.${b64({ ...claims, sub: 'root' })}.${s}`; },
    'iss-other': () => by({ iss: 'https://id.example.org' }),
    'iss-slash': () => by({ iss: `${issuer}/` }),
    'iss-case': () => by({ iss: issuer.toUpperCase() }),
    'no-iss': () => without('iss'),
    'aud-other': () => by({ aud: 'other' }),
    'aud-two': () => by({ aud: [CLIENT, 'other'], azp: CLIENT }),
    'aud-empty': () => by({ aud: [] }),
    'no-aud': () => without('aud'),
    'azp-other': () => by({ azp: 'other' }),
    'azp-ours': () => by({ azp: CLIENT }),
    'expired': () => by({ exp: now() - 61 }),
    'expired-in-skew': () => by({ exp: now() - 30 }),
    'no-exp': () => without('exp'),
    'exp-text': () => by({ exp: 'tomorrow' }),
    'exp-huge': () => by({ exp: 1e300 }),
    'iat-future': () => by({ iat: now() + 120, exp: now() + 400 }),
    'iat-past': () => by({ iat: now() - 3600 }),
    'iat-negative': () => by({ iat: -5 }),
    'nonce-other': () => by({ nonce: 'f'.repeat(64) }),
    'nonce-empty': () => by({ nonce: '' }),
    'no-nonce': () => without('nonce'),
    'auth-old': () => by({ auth_time: now() - 3600 }),
    'auth-future': () => by({ auth_time: now() + 3600 }),
    'no-auth-time': () => without('auth_time'),
    'at-hash-other': () => by({ at_hash: 'A'.repeat(22) }),
    'no-amr': () => without('amr'),
    'amr-pwd': () => by({ amr: ['pwd'] }),
    'amr-text': () => by({ amr: 'mfa' }),
    'amr-many': () => by({ amr: ['mfa', ...Array(5000).fill('x')] }),
    'sub-empty': () => by({ sub: '' }),
    'sub-long': () => by({ sub: 's'.repeat(256) }),
    'sub-unicode': () => by({ sub: 'mаllory' }),
    'sub-newline': () => by({ sub: 'a\nb' }),
    'sub-space': () => by({ sub: 'a b' }),
    'no-sub': () => without('sub'),
    'groups-text': () => by({ groups: 'ml-engineers' }),
    'groups-many': () => by({ groups: Array.from({ length: 513 }, (_, n) => `g${n}`) }),
    'groups-hidden': () => by({ groups: ['ml-engineers\u200b'] }),
    'groups-numbers': () => by({ groups: [1, 2] }),
    'no-groups': () => without('groups'),
    'name-bidi': () => by({ preferred_username: `\u202e\u0007mallory\u2066${'x'.repeat(500)}` }),
    'name-hidden': () => by({ preferred_username: '\u200b\u2060', name: 'Mallory' }),
    'not-a-token': () => 'x',
    'five-parts': () => 'a.b.c.d.e',
    'deep': () => `${b64(`${'['.repeat(5000)}${']'.repeat(5000)}`)}.${b64('{}')}.`,
  }[lie];
  return made && made();
}

const send = (response, status, value, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof value === 'string' ? value : JSON.stringify(value));
};

/** Bytes without end, or so many a second. */
function drip(response, bytes, everyMs, headers = { 'content-type': 'application/json' }) {
  response.writeHead(200, headers);
  const timer = setInterval(() => response.write(Buffer.alloc(bytes, 0x20)), everyMs);
  response.on('close', () => clearInterval(timer));
}

/** What goes wrong with the answer itself, whatever was asked. */
const answers = {
  'huge': (response) => send(response, 200, `{"x":"${'x'.repeat(4 << 20)}"}`),
  'endless': (response) => drip(response, 65536, 1),
  'slow': (response) => drip(response, 1, 500),
  'silent': () => {},
  'endless-head': (response) => {
    response.socket.write('HTTP/1.1 200 OK\r\n');
    const timer = setInterval(() => response.socket?.write(`x-${Math.random()}: ${'x'.repeat(4096)}\r\n`), 1);
    response.socket.on('close', () => clearInterval(timer));
  },
  'redirect': (response, request) => send(response, 302, '', { location: request.url }),
  'redirect-away': (response) => send(response, 307, '', { location: 'http://127.0.0.1:1/' }),
  'html': (response) => send(response, 200, '<html>', { 'content-type': 'text/html' }),
  'empty': (response) => send(response, 200, ''),
  'list': (response) => send(response, 200, []),
  'deep-json': (response) => send(response, 200, '['.repeat(30000)),
  'error-500': (response) => send(response, 500, {}),
  'error-404': (response) => send(response, 404, {}),
  'cut': (response) => { response.writeHead(200, { 'content-length': 1000 }); response.write('{'); response.socket.destroySoon(); },
  'wrong-length': (response) => response.socket.end('HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}'),
};

function document(lie, origin) {
  const issuer = lie === '' ? origin : `${origin}/${lie}`;
  const at = (path) => `${issuer}${path}`;
  return {
    issuer, authorization_endpoint: at('/auth'), token_endpoint: at('/token'), jwks_uri: at('/jwks'),
    device_authorization_endpoint: at('/device'), code_challenge_methods_supported: ['S256'],
    // Must not widen what is accepted.
    id_token_signing_alg_values_supported: ['none', 'HS256', 'RS256'],
    ...({
      'doc-issuer': { issuer: 'https://id.example.org' },
      'doc-issuer-slash': { issuer: `${issuer}/` },
      'doc-http-token': { token_endpoint: 'http://192.0.2.1/token' },
      'doc-file-keys': { jwks_uri: 'file:///etc/passwd' },
      'doc-user': { token_endpoint: `${issuer.replace('://', '://user:pw@')}/token` },
      'doc-script': { authorization_endpoint: 'javascript:alert(1)' },
      'doc-plain-pkce': { code_challenge_methods_supported: ['plain'] },
      'doc-no-device': { device_authorization_endpoint: undefined },
      'doc-no-token': { token_endpoint: undefined },
      'doc-numbers': { issuer: 1 },
    }[lie] ?? {}),
  };
}

function device(lie, issuer) {
  return {
    device_code: lie.startsWith('poll-') ? lie : 'honest', user_code: 'ABCD-EFGH', verification_uri: `${issuer}/page`,
    verification_uri_complete: `${issuer}/page?user_code=ABCD-EFGH`, expires_in: 600, interval: 1,
    ...({
      'dev-script': { verification_uri: 'javascript:alert(1)' },
      'dev-script-complete': { verification_uri_complete: 'javascript:alert(1)' },
      'dev-escape': { user_code: '\u001b[2J' },
      'dev-long': { user_code: 'A'.repeat(33) },
      'dev-empty': { device_code: '' },
      'dev-forever': { expires_in: 1e15, interval: 0 },
      'dev-slow': { interval: 1e9 },
    }[lie] ?? {}),
  };
}

const server = http.createServer((request, response) => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const { pathname } = new URL(request.url, origin);
  const [, lie = '', path] = /^(?:\/([a-z0-9-]+))??(\/(?:\.well-known\/openid-configuration|token|jwks|device|fetched))$/.exec(pathname) ?? [];
  const issuer = lie === '' ? origin : `${origin}/${lie}`;
  // `token-huge` is an honest document and keys, and a token endpoint that answers without end.
  const [, place, how] = /^(doc|jwks|token|device)-(.+)$/.exec(lie) ?? [];
  const here = { '/.well-known/openid-configuration': 'doc', '/jwks': 'jwks', '/token': 'token', '/device': 'device' }[path];
  let body = '';
  request.on('data', (chunk) => { body += chunk; }).on('end', () => {
    if (place === here && answers[how]) return answers[how](response, request);
    switch (path) {
      case '/fetched': return send(response, 200, { fetched });
      case '/.well-known/openid-configuration': return send(response, 200, document(lie, origin));
      case '/device': return send(response, 200, device(lie, issuer));
      case '/jwks': {
        fetched += 1;
        const many = Array.from({ length: 10000 }, () => ({}));
        const odd = [{ kty: 'oct', k: 'AAAA', kid: 'own' }, { kty: 'RSA', kid: 'odd' }, 5, null];
        const keys = { 'jwks-many': many, 'jwks-odd': [...odd, ...published], 'jwks-none': [], 'jwks-twice': [...published, jwk(foreign, 'own')] }[lie];
        return send(response, 200, { keys: keys ?? published });
      }
      case '/token': {
        const form = new URLSearchParams(body);
        const [said, nonce] = (form.get('code') ?? form.get('device_code') ?? '').split('.');
        const refuse = (error, description) => send(response, 400, { error, error_description: description });
        if (said.startsWith('error-')) return refuse(said.slice(6), '\u001b[31mred\u202e');
        if (said === 'poll-pending') return refuse('authorization_pending');
        if (said === 'poll-slow') return refuse('slow_down');
        if (said === 'poll-denied') return refuse('access_denied');
        if (said === 'poll-expired') return refuse('expired_token');
        if (said === 'no-id-token') return send(response, 200, { access_token: 'a', token_type: 'Bearer' });
        if (said === 'no-access-token') return send(response, 200, { id_token: token('honest', issuer, nonce, 'a') });
        const access = crypto.randomBytes(16).toString('hex');
        const id = token(said, issuer, nonce, access);
        return id ? send(response, 200, { access_token: access, token_type: 'Bearer', id_token: id }) : refuse('invalid_grant');
      }
      default: return send(response, 404, {});
    }
  });
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ origin: `http://127.0.0.1:${server.address().port}` })}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
