// SPDX-License-Identifier: MIT
/**
 * Express with supertokens-node: its middleware, and verifySession() on the page.
 *
 * Their SDK verifies access tokens by itself; from the core it takes no more than the keys, once. A server in the
 * core's place publishes one, with which a token of ours is signed. The page is a template string: no engine is quicker.
 */

import { createSign, generateKeyPairSync } from "node:crypto";
import { createWriteStream } from "node:fs";
import { createServer } from "node:http";
import express from "express";
import SuperTokens from "supertokens-node";
import { errorHandler, middleware } from "supertokens-node/framework/express/index.js";
import { verifySession } from "supertokens-node/recipe/session/framework/express/index.js";
import Session from "supertokens-node/recipe/session/index.js";

const USER_ID = "6a0c63a5-3c5b-4d0e-9f8e-2f3f6f4d7a11";
const KID = "d-1700000000000";
const log = createWriteStream("/dev/null");
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

function encoded(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function accessToken() {
  const now = Math.floor(Date.now() / 1000);
  const input = [
    encoded({ alg: "RS256", typ: "JWT", kid: KID, version: "5" }),
    encoded({
      iat: now, exp: now + 6 * 3600, sub: USER_ID, tId: "public", rsub: USER_ID, sessionHandle: USER_ID,
      refreshTokenHash1: "0".repeat(64), parentRefreshTokenHash1: null, antiCsrfToken: null, iss: "http://localhost/auth",
    }),
  ].join(".");
  return `${input}.${createSign("RSA-SHA256").update(input).sign(privateKey).toString("base64url")}`;
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function page(userId) {
  const rows = Array.from({ length: 24 }, (_, number) => `
    <tr><td>Report ${number}</td><td class="amount">${number * 17}</td><td>in good order</td></tr>
    `);
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Reports</title>
</head>
<body>
  <h1>Reports for ${escaped(userId)}</h1>
  <table>
    ${rows.join("")}
  </table>
  <p>${escaped(userId)} may read all of these.</p>
</body>
</html>
`;
}

const core = createServer((request, response) => {
  const found = request.url === "/.well-known/jwks.json";
  response.writeHead(found ? 200 : 404, { "Content-Type": "application/json" });
  response.end(found ? JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: KID, use: "sig", alg: "RS256" }] }) : "");
});

core.listen(0, "127.0.0.1", () => {
  SuperTokens.init({
    framework: "express",
    supertokens: { connectionURI: `http://127.0.0.1:${core.address().port}` },
    appInfo: { appName: "Peer", apiDomain: "http://localhost:1", websiteDomain: "http://localhost:1" },
    recipeList: [Session.init()],
    telemetry: false,
  });
  const site = express();
  site.use((request, response, next) => {
    const began = process.hrtime.bigint();
    response.on("finish", () => {
      const milliseconds = Number(process.hrtime.bigint() - began) / 1e6;
      log.write(`${new Date().toISOString()} ${response.statusCode} ${request.method} ${request.path} ${milliseconds} ms\n`);
    });
    next();
  });
  site.use(middleware());
  site.get("/page", verifySession(), (request, response) => {
    response.type("html").send(page(request.session.getUserId()));
  });
  site.use(errorHandler());
  const listening = site.listen(0, "127.0.0.1", () => {
    console.log(JSON.stringify({ port: listening.address().port, cookie: `sAccessToken=${accessToken()}` }));
  });
});
