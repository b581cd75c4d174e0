// A C# client of one habit: `dotnet client.dll HABIT URL`. Says "done" after its requests, and stays
// until its standard input ends.
using System;
using System.Net.Http;

static class Client
{
    const int Requests = 120;

    static void Main(string[] arguments)
    {
        string habit = arguments[0], url = arguments[1];
        var shared = new HttpClient();
        for (int n = 0; n < Requests; n++)
        {
            switch (habit)
            {
                case "client-per-call":
                    using (var client = new HttpClient()) client.GetByteArrayAsync(url).Wait();
                    break;
                case "client-shared":
                    shared.GetByteArrayAsync(url).Wait();
                    break;
                default:
                    throw new ArgumentException(habit);
            }
        }
        Console.WriteLine("done");
        Console.In.ReadToEnd();
    }
}
