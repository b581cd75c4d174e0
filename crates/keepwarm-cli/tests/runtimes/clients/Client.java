// A Java client of one habit: `java Client.java HABIT URL`. Says "done" after its requests, and
// stays until its standard input ends, so that what it left open can be seen.

import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class Client {
    static final int BURSTS = 12;
    static final int AT_ONCE = 30;
    static final int REQUESTS = 120;

    public static void main(String[] arguments) throws Exception {
        URI url = URI.create(arguments[1]);
        // What is not referred to may be collected, and its connections closed.
        List<HttpClient> kept = new ArrayList<>();
        HttpClient shared = HttpClient.newHttpClient();
        switch (arguments[0]) {
            case "client-per-call" -> {
                for (int n = 0; n < REQUESTS; n++) {
                    kept.add(HttpClient.newHttpClient());
                    get(kept.get(n), url);
                }
            }
            case "client-shared" -> {
                for (int n = 0; n < REQUESTS; n++) get(shared, url);
            }
            case "url-connection-in-bursts" -> inBursts(() -> getPlainly(url, false));
            case "url-connection" -> {
                for (int n = 0; n < REQUESTS; n++) getPlainly(url, false);
            }
            case "url-connection-disconnected" -> {
                for (int n = 0; n < REQUESTS; n++) getPlainly(url, true);
            }
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.println("done");
        System.in.transferTo(OutputStream.nullOutputStream());
        System.exit(kept.size() > REQUESTS ? 1 : 0);
    }

    static void get(HttpClient client, URI url) throws Exception {
        HttpRequest request =
                HttpRequest.newBuilder(url).version(HttpClient.Version.HTTP_1_1).build();
        client.send(request, HttpResponse.BodyHandlers.discarding());
    }

    static Void getPlainly(URI url, boolean disconnect) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection();
        if (disconnect) {
            // Before the body has been read: afterwards the connection is in the pool, and stays.
            connection.getResponseCode();
            connection.disconnect();
            return null;
        }
        try (InputStream body = connection.getInputStream()) {
            body.transferTo(OutputStream.nullOutputStream());
        }
        return null;
    }

    // Every burst begins when the last one has ended.
    static void inBursts(Callable<Void> request) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(AT_ONCE);
        List<Callable<Void>> burst = java.util.Collections.nCopies(AT_ONCE, request);
        for (int n = 0; n < BURSTS; n++) {
            for (var one : threads.invokeAll(burst)) one.get();
        }
        threads.shutdown();
    }
}
