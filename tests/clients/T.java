import java.sql.*;

/** For each JDBC URL one line: rows | tables | columns | a parameter | the error of a table that is not there. As DBeaver and Metabase look around. */
public class T {
    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            try (Connection connection = DriverManager.getConnection(url, "reader", "")) {
                StringBuilder line = new StringBuilder();
                try (ResultSet rows = connection.createStatement().executeQuery("SELECT count(), sum(offset) FROM late")) {
                    rows.next();
                    line.append(rows.getLong(1)).append(' ').append(rows.getLong(2));
                }
                try (ResultSet rows = connection.createStatement().executeQuery("SELECT number FROM numbers(200000)")) {
                    long sum = 0;
                    while (rows.next()) sum += rows.getLong(1);
                    line.append('|').append(sum);
                }
                DatabaseMetaData about = connection.getMetaData();
                line.append('|').append(count(about.getTables(null, connection.getSchema(), "late", null)));
                line.append('|').append(count(about.getColumns(null, connection.getSchema(), "late", null)));
                try (PreparedStatement statement = connection.prepareStatement("SELECT ?")) {
                    statement.setString(1, "O'Brien");
                    ResultSet rows = statement.executeQuery();
                    rows.next();
                    line.append('|').append(rows.getString(1));
                }
                try {
                    connection.createStatement().executeQuery("SELECT * FROM nosuch");
                } catch (SQLException error) {
                    line.append('|').append(error.getErrorCode());
                }
                System.out.println(line);
            }
        }
    }

    static int count(ResultSet rows) throws SQLException {
        int count = 0;
        while (rows.next()) count++;
        return count;
    }
}
