// SPDX-License-Identifier: MIT
/**
 * An OpenID provider for this machine. It believes whatever name is typed, and says that the address NAME belongs to
 * that person. Prints its issuer, then reads the redirect URI of its client, which can only now have an address, too.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const server = createServer().listen(0, "127.0.0.1", async () => {
  const issuer = `http://localhost:${server.address().port}`;
  console.log(issuer);
  const [redirectUri] = await once(createInterface({ input: process.stdin }), "line");
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
});
