<?php
// A PHP client of one habit: `php client.php HABIT URL`. Says "done" after its requests, and stays
// until its standard input ends. HABIT "check" only says whether there is curl.

const REQUESTS = 120;

function get(CurlHandle $handle, string $url): void
{
    curl_setopt_array($handle, [CURLOPT_URL => $url, CURLOPT_RETURNTRANSFER => true]);
    if (curl_exec($handle) === false) {
        throw new Exception(curl_error($handle));
    }
}

[, $habit, $url] = $argv + [2 => ''];
$shared = curl_init();
switch ($habit) {
    case 'check':
        exit(0);
    case 'handle-per-call':
        for ($n = 0; $n < REQUESTS; $n++) {
            $handle = curl_init();
            get($handle, $url);
            unset($handle);
        }
        break;
    case 'handle-shared':
        for ($n = 0; $n < REQUESTS; $n++) {
            get($shared, $url);
        }
        break;
    case 'file-get-contents':
        for ($n = 0; $n < REQUESTS; $n++) {
            file_get_contents($url);
        }
        break;
    default:
        throw new Exception($habit);
}
echo "done\n";
stream_get_contents(STDIN);
