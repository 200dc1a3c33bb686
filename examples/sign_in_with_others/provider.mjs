// SPDX-License-Identifier: MIT
/**
 * An OpenID provider for this machine: node provider.mjs REDIRECT_URI. It believes whatever name is typed, and says that
 * the address NAME belongs to that person. Prints its issuer.
 */
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [redirectUri] = process.argv.slice(2);
const server = createServer().listen(0, "127.0.0.1", () => {
  const issuer = `http://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "kit",
        client_secret: "known to the two of them",
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: "client_secret_post",
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    conformIdTokenClaims: false, // the address is in the ID token itself
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: id, email_verified: !id.startsWith("unconfirmed") }),
    }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
