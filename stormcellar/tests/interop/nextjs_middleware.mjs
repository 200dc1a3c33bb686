// SPDX-License-Identifier: MIT
/**
 * The Next.js middleware of supertokens-auth-react, unmodified; run by test_nextjs_middleware.py.
 *
 * Arguments: the address of the server, and how many seconds an access token lives. The script plays the
 * browser, and Next.js, which calls the middleware with a standard Request. Output: JSON, what happened.
 */

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { superTokensMiddleware } = require("supertokens-auth-react/nextjs/middleware");

const [server, lifetime] = [process.argv[2], Number(process.argv[3])];
const website = "http://localhost:3000";
const middleware = superTokensMiddleware({
  appInfo: { appName: "Elsewhere", apiDomain: server, websiteDomain: website, apiBasePath: "/auth" },
});

const cookies = new Map();
const keep = (response) => {
  for (const line of response.headers.getSetCookie()) {
    const [pair] = line.split(";");
    const name = pair.slice(0, pair.indexOf("="));
    const value = pair.slice(name.length + 1);
    if (value) cookies.set(name, value);
    else cookies.delete(name);
  }
};
const cookie = () => [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");

const page = async () => {
  const response = await fetch(`${server}/dashboard`, {
    headers: { Cookie: cookie(), Accept: "application/json" },
    redirect: "manual",
  });
  return response.status;
};

const signedUp = await fetch(`${server}/auth/signup`, {
  method: "POST",
  headers: { "Content-Type": "application/json", "st-auth-mode": "cookie", rid: "emailpassword", Origin: server },
  body: JSON.stringify({
    formFields: [
      { id: "email", value: "ann@example.com" },
      { id: "password", value: "tall ships sail 27 seas" },
    ],
  }),
});
keep(signedUp);
const said = { signUp: (await signedUp.json()).status, before: await page(), rounds: [] };
for (let round = 0; round < 3; round++) {
  await sleep(1000 * (lifetime + 0.2));
  const expired = await page();
  const answer = await middleware(
    new Request(`${website}/auth/session/refresh?stRedirectTo=/dashboard`, { headers: { cookie: cookie() } }),
  );
  keep(answer);
  said.rounds.push([expired, answer.status, new URL(answer.headers.get("Location")).pathname, await page()]);
}
console.log(JSON.stringify(said));
