// SPDX-License-Identifier: MIT
// SuperTokens' pre-built UI for React: sign up, sign in, reset the password, verify the address.
import { createRoot } from "react-dom/client";
import SuperTokens, { SuperTokensWrapper } from "supertokens-auth-react";
import EmailPassword from "supertokens-auth-react/recipe/emailpassword";
import { EmailPasswordPreBuiltUI } from "supertokens-auth-react/recipe/emailpassword/prebuiltui";
import { canHandleRoute, getRoutingComponent } from "supertokens-auth-react/ui";
import Session, { SessionAuth, signOut } from "supertokens-auth-react/recipe/session";

const UIs = [EmailPasswordPreBuiltUI];

SuperTokens.init({
  appInfo: {
    appName: "Stormcellar",
    apiDomain: location.origin,
    apiBasePath: "/auth",
    websiteDomain: location.origin,
    websiteBasePath: "/example/auth",
  },
  getRedirectionURL: async ({ action }) => (action === "SUCCESS" ? "/example" : undefined),
  recipeList: [EmailPassword.init(), Session.init()],
});

function Home() {
  const session = Session.useSessionContext();
  return (
    <main>
      <h1>You are signed in</h1>
      <p id="user-id">{session.userId}</p>
      <button onClick={async () => { await signOut(); location.assign("/example/auth"); }}>Sign out</button>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <SuperTokensWrapper>
    {canHandleRoute(UIs) ? getRoutingComponent(UIs) : <SessionAuth><Home /></SessionAuth>}
  </SuperTokensWrapper>,
);
