// SPDX-License-Identifier: MIT
// A page without a framework: supertokens-website keeps the session, plain fetch does the rest.
import SuperTokens from "supertokens-website";

const events = [];
SuperTokens.init({
  apiDomain: location.origin,
  apiBasePath: "/auth",
  onHandleEvent: ({ action }) => events.push(action),
});

const output = document.getElementById("output");
const show = (value) => { output.textContent = JSON.stringify(value); };

document.getElementById("credentials").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = [...new FormData(event.target)].map(([id, value]) => ({ id, value }));
  const response = await fetch(`/auth/${event.submitter.value}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ formFields: fields }),
  });
  show(await response.json());
});

document.getElementById("me").addEventListener("click", async () => {
  const response = await fetch("/api/me");
  show({ status: response.status, ...(await response.json()) });
});

document.getElementById("signout").addEventListener("click", async () => {
  await SuperTokens.signOut();
  show({ signedOut: true });
});

Object.assign(window, { SuperTokens, events }); // to play with in the console
