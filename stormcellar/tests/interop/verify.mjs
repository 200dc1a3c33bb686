// SPDX-License-Identifier: MIT
/**
 * What supertokens-node thinks of access tokens; run by test_other_backends.py.
 *
 * Argument: the address of the core. Standard input: {"name": "token"}. Output: {"name": what it says}.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const SuperTokens = require("supertokens-node");
const Session = require("supertokens-node/recipe/session");

SuperTokens.init({
  supertokens: { connectionURI: process.argv[2] },
  appInfo: { appName: "Elsewhere", apiDomain: "http://localhost:1", websiteDomain: "http://localhost:1" },
  recipeList: [Session.init()],
  telemetry: false,
});

async function opinion(token) {
  try {
    const session = await Session.getSessionWithoutRequestResponse(token);
    return {
      userId: session.getUserId(),
      recipeUserId: session.getRecipeUserId().getAsString(),
      handle: session.getHandle(),
      tenantId: session.getTenantId(),
      payload: session.getAccessTokenPayload(),
    };
  } catch (error) {
    if (!Session.Error.isErrorFromSuperTokens(error)) throw error;
    return { error: error.type };
  }
}

const opinions = {};
for (const [name, token] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) opinions[name] = await opinion(token);
console.log(JSON.stringify(opinions));
process.exit();
