import java.net.URI;
import java.net.http.*;
import java.util.*;

/** A client a request, forgotten, and collected later. */
public class Dropped {
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 150; i++) {
            HttpClient client = HttpClient.newHttpClient();
            client.send(HttpRequest.newBuilder(URI.create("http://10.107.0.2:8080/")).build(),
                    HttpResponse.BodyHandlers.ofString());
            client = null;
            if (i % 50 == 49) System.gc();
        }
        Thread.sleep(500);
        System.gc();
        Thread.sleep(1000);
        System.out.println("done");
        System.in.read();
    }
}
