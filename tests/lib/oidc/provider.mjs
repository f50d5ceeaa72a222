// An OpenID provider that is not ours (`oidc-provider`), for tests: accounts and factors as the test says.
//
// Arguments: one JSON object {"cert", "key"} (paths; none: plain HTTP), {"accounts": {sub: claims}}, {"port"}.
// Writes one line of JSON, {"issuer"}, when it listens. Ends with its standard input.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';

import Provider from 'oidc-provider';

// Whoever started this reads one line of standard output and no more.
console.info = console.warn = console.log = console.error;

const given = JSON.parse(process.argv[2] ?? '{}');
const accounts = given.accounts ?? {
  alice: { preferred_username: 'alice', name: 'Alice Example', groups: ['ml-engineers'] },
  bob: { preferred_username: 'b\u202eob', name: 'Bob', groups: [] },
};

function key(kind, options, alg) {
  const { privateKey } = crypto.generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: alg, alg, use: 'sig' };
}
const jwks = {
  keys: [
    key('rsa', { modulusLength: 2048 }, 'RS256'),
    key('rsa', { modulusLength: 2048 }, 'PS256'),
    key('ec', { namedCurve: 'P-256' }, 'ES256'),
    key('ec', { namedCurve: 'P-384' }, 'ES384'),
    key('ed25519', {}, 'EdDSA'),
  ],
};
const algorithms = jwks.keys.map((k) => k.alg);

const client = {
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback'],
  grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
};
const clients = [
  { ...client, client_id: 'strongroom' },
  { ...client, client_id: 'other' },
  { ...client, client_id: 'mac', client_secret: 'a_secret_of_thirty_two_characters', token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'HS256' },
  { ...client, client_id: 'with-secret', client_secret: 's3cret/+%:', token_endpoint_auth_method: 'client_secret_basic' },
  ...algorithms.map((alg) => ({ ...client, client_id: `strongroom-${alg}`, id_token_signed_response_alg: alg })),
];

const server = given.cert
  ? https.createServer({ cert: fs.readFileSync(given.cert), key: fs.readFileSync(given.key) })
  : http.createServer();
server.listen(given.port ?? 0, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = given.cert ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  const provider = new Provider(issuer, {
    clients,
    jwks,
    acrValues: ['urn:example:gold', 'urn:example:plain'],
    claims: { openid: ['sub', 'acr', 'amr'], profile: ['name', 'preferred_username'], email: ['email'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    conformIdTokenClaims: false,
    cookies: { keys: [crypto.randomBytes(16).toString('hex')] },
    enabledJWA: { idTokenSigningAlgValues: [...algorithms, 'HS256'] },
    features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    ttl: { DeviceCode: given.device_ttl ?? 600, AuthorizationCode: 60, AccessToken: 60, IdToken: 300, Interaction: 600, Session: 600, Grant: 600 },
    findAccount: (_, sub) => (accounts[sub] ? { accountId: sub, claims: () => ({ sub, ...accounts[sub] }) } : undefined),
  });
  const plain = provider.callback();
  server.on('request', async (request, response) => {
    const url = new URL(request.url, issuer);
    if (!url.pathname.startsWith('/interaction/')) return plain(request, response);
    // The person's answer: ?login=SUB&amr=A,B&acr=C, or ?deny=1. Consent comes with it.
    try {
      const { params, prompt } = await provider.interactionDetails(request, response);
      const said = url.searchParams;
      if (said.has('deny')) {
        return await provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'no' });
      }
      if (!said.has('login')) {
        response.setHeader('content-type', 'application/json');
        return response.end(JSON.stringify({ prompt: prompt.name, params }));
      }
      const grant = new provider.Grant({ accountId: said.get('login'), clientId: params.client_id });
      grant.addOIDCScope(params.scope);
      const login = { accountId: said.get('login'), remember: false };
      if (said.has('amr')) login.amr = said.get('amr').split(',');
      if (said.has('acr')) login.acr = said.get('acr');
      return await provider.interactionFinished(request, response, { login, consent: { grantId: await grant.save() } });
    } catch (error) {
      response.statusCode = 500;
      return response.end(String(error));
    }
  });
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
