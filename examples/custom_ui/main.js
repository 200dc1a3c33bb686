// SPDX-License-Identifier: MIT
// A sign-in form of one's own on top of supertokens-web-js.
import SuperTokens from "supertokens-web-js";
import EmailPassword from "supertokens-web-js/recipe/emailpassword";
import EmailVerification from "supertokens-web-js/recipe/emailverification";
import Session, { BooleanClaim } from "supertokens-web-js/recipe/session";

SuperTokens.init({
  appInfo: { appName: "Stormcellar", apiDomain: location.origin, apiBasePath: "/auth" },
  recipeList: [EmailPassword.init(), EmailVerification.init(), Session.init()],
});

const output = document.getElementById("output");
const show = (value) => { output.textContent = JSON.stringify(value); };

document.getElementById("credentials").addEventListener("submit", async (event) => {
  event.preventDefault();
  const formFields = [...new FormData(event.target)].map(([id, value]) => ({ id, value }));
  const { status, user, formFields: errors } = await EmailPassword[event.submitter.value]({ formFields });
  show({ status, userId: user?.id, errors });
});

document.getElementById("payload").addEventListener("click", async () => {
  show(await Session.getAccessTokenPayloadSecurely());
});

document.getElementById("signout").addEventListener("click", async () => {
  await Session.signOut();
  show({ signedOut: true });
});

Object.assign(window, { EmailPassword, EmailVerification, Session, BooleanClaim });
