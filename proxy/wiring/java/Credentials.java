import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.URLDecoder;

/**
 * Gives a Java program the credentials of the proxy that its environment names. Loaded by -javaagent.
 *
 * They go to that proxy alone, in the two places where programs look for them: the default Authenticator
 * (java.net.URL and what is built on it) and the properties https.proxyUser and https.proxyPassword (Gradle, the AWS
 * SDK, Apache HttpClient). A program that sets an Authenticator of its own, or a java.net.http.HttpClient without
 * one, does not see them. Nothing is printed, and nothing that is set already is changed.
 */
public final class Credentials {
    private Credentials() {
    }

    public static void premain(String options) {
        try {
            give();
        } catch (Exception unreadable) {
            // No credentials then: the gate answers 407 and records it. The text may hold a token, and is not shown.
            System.err.println("claiim: the proxy variable is not a URL; it is not used");
        }
    }

    private static void give() throws Exception {
        String text = System.getenv("https_proxy");
        if (text == null || text.isEmpty()) {
            text = System.getenv("HTTPS_PROXY");
        }
        if (text == null || text.isEmpty()) {
            return;
        }
        final URI proxy = new URI(text);
        String[] pair = String.valueOf(proxy.getRawUserInfo()).split(":", 2);
        if (pair.length != 2) {
            return;
        }
        final String user = decoded(pair[0]);
        final String password = decoded(pair[1]);
        for (String scheme : new String[] {"http", "https"}) {
            if (System.getProperty(scheme + ".proxyUser") == null) {
                System.setProperty(scheme + ".proxyUser", user);
                System.setProperty(scheme + ".proxyPassword", password);
            }
        }
        Authenticator.setDefault(new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                // Without this a target could ask for the token, by a 401.
                boolean asked = getRequestorType() == RequestorType.PROXY
                    && proxy.getHost().equalsIgnoreCase(getRequestingHost()) && proxy.getPort() == getRequestingPort();
                return asked ? new PasswordAuthentication(user, password.toCharArray()) : null;
            }
        });
    }

    private static String decoded(String text) throws Exception {
        return URLDecoder.decode(text.replace("+", "%2B"), "UTF-8");
    }
}
