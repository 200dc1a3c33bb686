// SPDX-License-Identifier: MIT
// What a mobile app does: supertokens-react-native keeps the tokens and sends them in headers.
//
//   make example NAME=header_mode            starts the server
//   node examples/.build/header_mode.mjs URL signs up, calls, renews and signs out, saying what it sees
import SuperTokens from "supertokens-react-native";

const apiDomain = process.argv[2] ?? "http://localhost:8888";
const email = process.argv[3] ?? `app-${Date.now()}@example.com`;
const events = [];

SuperTokens.init({
  apiDomain,
  apiBasePath: "/auth",
  tokenTransferMethod: "header",
  onHandleEvent: ({ action }) => events.push(action),
});

const post = (path, body) => fetch(apiDomain + path, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

const say = (what, value) => console.log(JSON.stringify({ what, value }));

const credentials = { formFields: [{ id: "email", value: email }, { id: "password", value: "tall ships sail 27 seas" }] };
const signUp = await (await post("/auth/signup", credentials)).json();
say("sign up", signUp.status);
say("session exists", await SuperTokens.doesSessionExist());
say("user", (await SuperTokens.getUserId()) === signUp.user.id);

const call = await post("/api/me", { hello: "from the app" });
say("call", { status: call.status, cookies: call.headers.get("set-cookie") });

if (process.argv[4]) { // seconds until the access token has expired
  await new Promise((resolve) => setTimeout(resolve, Number(process.argv[4]) * 1000));
  const late = await Promise.all([1, 2, 3].map(() => post("/api/me", {})));
  say("late calls", late.map((response) => response.status));
}
say("refresh", await SuperTokens.attemptRefreshingSession());
await SuperTokens.signOut();
say("after sign out", await SuperTokens.doesSessionExist());
say("refused", (await post("/api/me", {})).status);
say("events", events);
